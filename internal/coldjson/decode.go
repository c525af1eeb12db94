package coldjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
)

// Unmarshal is json.Unmarshal. The first *json.UnmarshalTypeError ends it; it
// has the Field that is meant, and no Struct.
func Unmarshal(raw []byte, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || !composite(v.Type().Elem()) {
		return json.Unmarshal(raw, into)
	}
	// With this the tokens below are those of a whole, valid value, and a
	// syntax error is in the words of encoding/json.
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		return err
	}
	return decode(json.NewDecoder(bytes.NewReader(raw)), v.Elem())
}

func decode(d *json.Decoder, v reflect.Value) error {
	t := v.Type()
	if !composite(t) {
		return d.Decode(v.Addr().Interface())
	}
	begin, err := d.Token()
	if err != nil { // the text is valid, so it is a number beyond all bounds
		return &json.UnmarshalTypeError{Value: "number", Type: t, Offset: d.InputOffset()}
	}
	if begin == nil { // null: a struct stays as it is
		if t.Kind() != reflect.Struct {
			v.SetZero()
		}
		return nil
	}
	for t.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		v, t = v.Elem(), t.Elem()
	}
	switch {
	case t.Kind() == reflect.Struct && begin == json.Delim('{'):
		return decodeObject(d, v)
	case t.Kind() == reflect.Slice && begin == json.Delim('['):
		return decodeArray(d, v)
	}
	return &json.UnmarshalTypeError{Value: nameOf(begin), Type: t, Offset: d.InputOffset()}
}

func decodeObject(d *json.Decoder, v reflect.Value) error {
	targets := appendTargets(nil, v)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name := key.(string)
		into := find(targets, name)
		if into == nil {
			var unknown json.RawMessage
			if err := d.Decode(&unknown); err != nil {
				return err
			}
			continue
		}
		if err := decode(d, into.value); err != nil {
			return below(into.name, err)
		}
	}
	_, err := d.Token() // the closing brace
	return err
}

func decodeArray(d *json.Decoder, v reflect.Value) error {
	n := 0
	for ; d.More(); n++ {
		if n == v.Cap() {
			v.Grow(1)
		}
		if n >= v.Len() {
			v.SetLen(n + 1)
		}
		if err := decode(d, v.Index(n)); err != nil {
			return err
		}
	}
	v.SetLen(n)
	if v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	_, err := d.Token() // the closing bracket
	return err
}

// target is where the value of a key goes.
type target struct {
	name  string
	value reflect.Value
}

func appendTargets(to []target, v reflect.Value) []target {
	for _, f := range fields(v.Type()) {
		if f.embedded {
			to = appendTargets(to, v.Field(f.index))
		} else {
			to = append(to, target{f.name, v.Field(f.index)})
		}
	}
	return to
}

// find is the target of a key; one in other case is only taken where none is
// exactly so.
func find(targets []target, name string) *target {
	for i := range targets {
		if targets[i].name == name {
			return &targets[i]
		}
	}
	for i := range targets {
		if strings.EqualFold(targets[i].name, name) {
			return &targets[i]
		}
	}
	return nil
}

// below puts the key in front of the field that a type error names.
func below(key string, err error) error {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return err
	}
	if kind.Field != "" {
		key += "." + kind.Field
	}
	kind.Field = key
	return err
}

func nameOf(t json.Token) string {
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return "object"
		}
		return "array"
	case string:
		return "string"
	case bool:
		return "bool"
	}
	return "number"
}
