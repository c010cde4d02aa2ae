package pingone

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/postseal/postseal/internal/sender"
)

// variable is a name that a template knows.
type variable struct {
	name, description string
	required          bool
}

// standard is one of the fixed templates. The names are the vendor's, the words and
// the default contents are ours.
type standard struct {
	name, display, description string
	dynamic                    bool // further names are the caller's
	variables                  []variable
	subject, body              string // of the default content
}

// standardAt is when the fixed templates and their default contents were made.
var standardAt = time.Date(2025, 6, 24, 0, 0, 0, 0, time.UTC)

// everywhere are the names that each template knows.
var everywhere = []variable{
	{"user.username", "Name that the person signs in with.", false},
	{"user.name.given", "Given name.", false},
	{"user.name.family", "Family name.", false},
	{"current-year", "The year, in four digits.", false},
}

var (
	code         = variable{"otp", "One-time code.", false}
	requiredCode = variable{"otp", "One-time code.", true}
	credential   = variable{"credential.name", "Name of the credential.", false}
)

var standards = []standard{
	{
		"credential_issued", "Credential Issued", "Tells a person that a credential is there for them.", false, []variable{credential},
		"A credential was issued to you", "<p>Hello ${user.name.given},</p>\n<p>the credential <b>${credential.name}</b> was issued to you.</p>\n",
	}, {
		"credential_revoked", "Credential Revoked", "Tells a person that a credential is no longer valid.", false, []variable{credential},
		"A credential of yours was revoked", "<p>Hello ${user.name.given},</p>\n<p>your credential <b>${credential.name}</b> was revoked.</p>\n",
	}, {
		"credential_updated", "Credential Updated", "Tells a person that a credential has changed.", false, []variable{credential},
		"A credential of yours has changed", "<p>Hello ${user.name.given},</p>\n<p>your credential <b>${credential.name}</b> has changed.</p>\n",
	}, {
		"credential_verification", "Credential Verification", "Asks a person to show a credential.", false, []variable{credential},
		"Please show a credential", "<p>Hello ${user.name.given},</p>\n<p>please show your credential <b>${credential.name}</b>.</p>\n",
	}, {
		"device_pairing", "Device Pairing", "Brings the code by which a mailbox becomes a second factor.", false, []variable{requiredCode},
		"Your pairing code", "<p>Hello ${user.name.given},</p>\n<p>enter the code <b>${otp}</b> to pair this address with your account.</p>\n",
	}, {
		"digital_wallet_pairing", "Digital Wallet Pairing", "Invites a person to pair a wallet.", true, nil,
		"Pair your wallet", "<p>Hello ${user.name.given},</p>\n<p>open your wallet to pair it with your account.</p>\n",
	}, {
		"email_verification_admin", "Email Verification, by an Administrator", "Brings the code by which an administrator's address is proven.", false, []variable{code},
		"Confirm your address", "<p>Hello ${user.name.given},</p>\n<p>enter the code <b>${otp}</b> to confirm this address.</p>\n",
	}, {
		"email_verification_user", "Email Verification, by a User", "Brings the code by which a person's address is proven.", false, []variable{code},
		"Confirm your address", "<p>Hello ${user.name.given},</p>\n<p>enter the code <b>${otp}</b> to confirm this address.</p>\n",
	}, {
		"email_phone_verification", "Email and Phone Verification", "Brings the code by which a means of contact is proven.", false, []variable{code},
		"Your code", "<p>Hello ${user.name.given},</p>\n<p>your code is <b>${otp}</b>.</p>\n",
	}, {
		"general", "General", "Any text, with the names that the caller likes.", true, nil,
		"A message for you", "<p>Hello ${user.name.given},</p>\n<p>there is news about your account.</p>\n",
	}, {
		"id_verification", "Identity Verification", "Invites a person to prove who they are.", true, nil,
		"Please prove your identity", "<p>Hello ${user.name.given},</p>\n<p>please prove your identity.</p>\n",
	}, {
		"new_device_paired", "New Device Paired", "Tells a person that a device was paired with their account.", false, nil,
		"A device was paired with your account", "<p>Hello ${user.name.given},</p>\n<p>a new device was paired with your account. If that was not you, tell your help desk at once.</p>\n",
	}, {
		"recovery_code_template", "Recovery Code", "Brings the code by which a forgotten password is replaced.", false, []variable{code},
		"Your recovery code", "<p>Hello ${user.name.given},</p>\n<p>your recovery code is <b>${otp}</b>.</p>\n",
	}, {
		"strong_authentication", "Strong Authentication", "Brings the code of a second factor.", false, []variable{code},
		"Your code for signing in", "<p>Hello ${user.name.given},</p>\n<p>your code for signing in is <b>${otp}</b>.</p>\n",
	}, {
		"transaction", "Transaction", "Asks a person to confirm what is done in their name.", true, []variable{code},
		"Please confirm a transaction", "<p>Hello ${user.name.given},</p>\n<p>the code <b>${otp}</b> confirms your transaction.</p>\n",
	}, {
		"verification_code_template", "Verification Code", "Brings a code that proves an address.", false, []variable{code},
		"Your verification code", "<p>Hello ${user.name.given},</p>\n<p>your verification code is <b>${otp}</b>.</p>\n",
	},
}

// standardOf finds a fixed template; NotFound where there is none of that name.
func standardOf(name string) (standard, error) {
	i := slices.IndexFunc(standards, func(s standard) bool { return s.name == name })
	if i < 0 {
		return standard{}, sender.Errorf(sender.NotFound, "", "")
	}
	return standards[i], nil
}

// DefaultContents are those of the fixed templates, by their names: mail is made of one
// where an environment has no content of its own.
func DefaultContents() map[string]sender.Template {
	all := make(map[string]sender.Template, len(standards))
	for _, s := range standards {
		all[s.name] = s.content("").Template
	}
	return all
}

// content is the default content, which can't be changed. Its id is made of the name.
func (s standard) content(tenant sender.ID) content {
	sum := sha256.Sum256([]byte("pingone content " + s.name))
	sum[6], sum[8] = sum[6]&0x0F|0x40, sum[8]&0x3F|0x80 // a UUID of version 4
	return content{Template: sender.Template{
		ID: sender.IDFromBytes([16]byte(sum[:16])), Tenant: tenant, Type: s.name, Locale: sender.DefaultLocale, Spelling: string(sender.DefaultLocale),
		Subject: s.subject, Body: s.body, HTML: true, Charset: defaultCharset, CreatedAt: standardAt, UpdatedAt: standardAt,
	}, standard: true}
}
