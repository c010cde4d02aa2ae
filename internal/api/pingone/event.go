package pingone

import "github.com/postseal/postseal/internal/sender"

// EventNames are the dialect's names for what the audit log tells, as its webhook
// subscriptions take them. What has no row has no name of theirs.
var EventNames = map[sender.EventType]string{
	sender.EventTenantCreated:    "ENVIRONMENT.CREATED",
	sender.EventTenantChanged:    "ENVIRONMENT.UPDATED",
	sender.EventTenantDeleted:    "ENVIRONMENT.DELETED",
	sender.EventDomainCreated:    "EMAIL_DOMAIN.CREATED",
	sender.EventDomainDeleted:    "EMAIL_DOMAIN.DELETED",
	sender.EventAddressCreated:   "TRUSTED_EMAIL.CREATED",
	sender.EventAddressCodeSent:  "TRUSTED_EMAIL.SEND_CODE",
	sender.EventAddressActive:    "TRUSTED_EMAIL.ACTIVE",
	sender.EventAddressDeleted:   "TRUSTED_EMAIL.DELETED",
	sender.EventTemplateCreated:  "CONTENT.CREATED",
	sender.EventTemplateReplaced: "CONTENT.UPDATED",
	sender.EventTemplateDeleted:  "CONTENT.DELETED",
	sender.EventTemplatesRenamed: "CONTENTS.UPDATED",
	sender.EventTemplatesDeleted: "CONTENTS.DELETED",
	sender.EventMailDefaults:     "NOTIFICATIONS_SETTINGS.UPDATED",
	sender.EventMessageFailed:    "NOTIFICATION.REJECTED",
	sender.EventMessageRefused:   "NOTIFICATION.REJECTED",
	sender.EventMessageExpired:   "NOTIFICATION.REJECTED",
}
