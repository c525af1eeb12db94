package api

import "github.com/berth-net/berth/internal/coldjson"

// Requests and answers say one thing of many, to a plugin that says two and
// ends: what coldjson is for. Decoders and encoders come to it by these.

type (
	plainRequest Request
	plainAnswer  Answer
)

// MarshalJSON implements json.Marshaler.
func (r Request) MarshalJSON() ([]byte, error) { return coldjson.Marshal(plainRequest(r)) }

// UnmarshalJSON implements json.Unmarshaler.
func (r *Request) UnmarshalJSON(raw []byte) error {
	return coldjson.Unmarshal(raw, (*plainRequest)(r))
}

// MarshalJSON implements json.Marshaler.
func (a Answer) MarshalJSON() ([]byte, error) { return coldjson.Marshal(plainAnswer(a)) }

// UnmarshalJSON implements json.Unmarshaler.
func (a *Answer) UnmarshalJSON(raw []byte) error { return coldjson.Unmarshal(raw, (*plainAnswer)(a)) }
