package native

import (
	"time"

	"github.com/postseal/postseal/internal/dnscheck"
	"github.com/postseal/postseal/internal/sender"
)

type timelineBody struct {
	ID       sender.ID        `json:"id"`
	At       time.Time        `json:"at"`
	Purpose  dnscheck.Purpose `json:"purpose"`
	Region   string           `json:"region,omitzero"`
	Name     string           `json:"name"`
	Type     dnscheck.Type    `json:"type"`
	Outcome  dnscheck.Outcome `json:"outcome" doc:"match, missing, mismatch or unknown."`
	Code     dnscheck.Code    `json:"code"`
	Presumed dnscheck.Code    `json:"presumed,omitzero" doc:"What those servers said that answered, where the outcome is unknown."`
	Observed []string         `json:"observed" doc:"At most 8 values, each cut at 255 octets."`
	Asked    []askedBody      `json:"asked" doc:"At most 12 servers."`
}

type askedBody struct {
	Server string `json:"server"`
	Role   string `json:"role" doc:"authoritative or resolver."`
	Result string `json:"result"`
}

func timelineOf(x sender.TimelineEntry) timelineBody {
	b := timelineBody{
		ID: x.ID, At: x.At, Purpose: x.Purpose, Region: x.Region, Name: x.Name.String(), Type: x.Type, Outcome: x.Outcome, Code: x.Code,
		Presumed: x.Presumed, Observed: append([]string{}, x.Observed...), Asked: make([]askedBody, 0, len(x.Asked)),
	}
	for _, a := range x.Asked {
		b.Asked = append(b.Asked, askedBody(a))
	}
	return b
}

type leftoverBody struct {
	ID           sender.ID            `json:"id"`
	Domain       sender.ID            `json:"domain" doc:"Its id, when there was one."`
	DomainName   string               `json:"domainName"`
	DeletedAt    time.Time            `json:"deletedAt"`
	CheckedAt    time.Time            `json:"checkedAt,omitzero" doc:"Absent before the first look after the deletion."`
	WatchedUntil time.Time            `json:"watchedUntil"`
	Records      []leftoverRecordBody `json:"records" doc:"Those still published."`
}

type leftoverRecordBody struct {
	Purpose  dnscheck.Purpose `json:"purpose"`
	Region   string           `json:"region,omitzero"`
	Name     string           `json:"name"`
	Type     dnscheck.Type    `json:"type"`
	Value    string           `json:"value"`
	Priority int              `json:"priority,omitzero" doc:"Of an MX record."`
	SeenAt   time.Time        `json:"seenAt"`
	Fix      string           `json:"fix" doc:"What is to be removed."`
}

func leftoverOf(x sender.Tombstone) leftoverBody {
	b := leftoverBody{
		ID: x.ID, Domain: x.Domain, DomainName: x.Spelling, DeletedAt: x.DeletedAt, CheckedAt: x.CheckedAt,
		WatchedUntil: x.DeletedAt.Add(sender.Watched), Records: make([]leftoverRecordBody, 0, len(x.Records)),
	}
	for _, l := range x.Records {
		r := l.Record
		b.Records = append(b.Records, leftoverRecordBody{r.Purpose, r.Region, r.Name.String(), r.Type, r.Value, r.Priority, l.SeenAt, l.Remove()})
	}
	return b
}

type claimBody struct {
	State  sender.ClaimStep `json:"state" doc:"begin, waiting, warn, gone, back, busy, win, taken or stale."`
	Detail string           `json:"detail" doc:"That the name is held, and what happens next."`
	Until  time.Time        `json:"until,omitzero" doc:"When the name can pass to this domain at the earliest."`
}

func claimOf(c *sender.ClaimStatus) *claimBody {
	if c == nil {
		return nil
	}
	return &claimBody{c.Step, c.Detail, c.Until}
}
