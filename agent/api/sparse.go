package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Requests and answers say one thing of many. To encode or decode a struct,
// encoding/json first studies every type that can be reached from it, which
// takes a plugin's process longer than all else that it does with the agent.
// So the fields that are not there are left out of its sight.

// MarshalJSON implements json.Marshaler.
func (r Request) MarshalJSON() ([]byte, error) { return marshalSparse(reflect.ValueOf(r)) }

// UnmarshalJSON implements json.Unmarshaler.
func (r *Request) UnmarshalJSON(raw []byte) error {
	return unmarshalSparse(raw, reflect.ValueOf(r).Elem())
}

// MarshalJSON implements json.Marshaler.
func (a Answer) MarshalJSON() ([]byte, error) { return marshalSparse(reflect.ValueOf(a)) }

// UnmarshalJSON implements json.Unmarshaler.
func (a *Answer) UnmarshalJSON(raw []byte) error {
	return unmarshalSparse(raw, reflect.ValueOf(a).Elem())
}

// marshalSparse encodes the fields of a struct that are not zero.
func marshalSparse(v reflect.Value) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range v.NumField() {
		field := v.Field(i)
		if field.IsZero() {
			continue
		}
		value, err := json.Marshal(field.Interface())
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", keyOf(v, i), err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", keyOf(v, i), value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// unmarshalSparse decodes into the fields of a struct whose keys are there.
func unmarshalSparse(raw []byte, v reflect.Value) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	for i := range v.NumField() {
		value, ok := values[keyOf(v, i)]
		if !ok {
			continue
		}
		if err := json.Unmarshal(value, v.Field(i).Addr().Interface()); err != nil {
			return fmt.Errorf("decode %s: %w", keyOf(v, i), err)
		}
	}
	return nil
}

// keyOf is the key of a field: the first part of its tag.
func keyOf(v reflect.Value, i int) string {
	key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
	return key
}
