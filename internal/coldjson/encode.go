package coldjson

import (
	"encoding/json"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// Marshal is json.Marshal.
func Marshal(from any) ([]byte, error) {
	v := reflect.ValueOf(from)
	if !v.IsValid() || !composite(v.Type()) {
		return json.Marshal(from)
	}
	return encode(make([]byte, 0, 1024), v)
}

func encode(to []byte, v reflect.Value) ([]byte, error) {
	t := v.Type()
	switch {
	case !composite(t):
		return encodeLeaf(to, v)
	case (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) && v.IsNil():
		return append(to, "null"...), nil
	case t.Kind() == reflect.Pointer:
		return encode(to, v.Elem())
	case t.Kind() == reflect.Slice:
		return encodeArray(to, v)
	}
	to, err := encodeFields(append(to, '{'), v)
	return append(to, '}'), err
}

// encodeLeaf writes a plain string or number, and leaves any other value to
// encoding/json, by its address where it has one, because methods of a pointer
// count there too.
func encodeLeaf(to []byte, v reflect.Value) ([]byte, error) {
	if v.Kind() == reflect.String && v.Type().PkgPath() == "" && plain(v.String()) {
		return append(append(append(to, '"'), v.String()...), '"'), nil
	}
	if v.CanInt() && v.Type().PkgPath() == "" {
		return strconv.AppendInt(to, v.Int(), 10), nil
	}
	if v.CanAddr() {
		v = v.Addr()
	}
	raw, err := json.Marshal(v.Interface())
	return append(to, raw...), err
}

// plain tells whether a string is written as it is. A few more are.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x7f {
			return false
		}
	}
	return true
}

func encodeArray(to []byte, v reflect.Value) (_ []byte, err error) {
	to = append(to, '[')
	for i := range v.Len() {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = encode(to, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return append(to, ']'), nil
}

func encodeFields(to []byte, v reflect.Value) (_ []byte, err error) {
	for _, f := range fields(v.Type()) {
		value := v.Field(f.index)
		switch {
		case f.embedded:
			to, err = encodeFields(to, value)
		case f.omitEmpty && isEmpty(value), f.omitZero && isZero(value):
			continue
		default:
			if to[len(to)-1] != '{' {
				to = append(to, ',')
			}
			to = append(append(append(to, '"'), f.name...), `":`...)
			to, err = encode(to, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return to, nil
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func isZero(v reflect.Value) bool {
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		return z.IsZero()
	}
	return v.IsZero()
}
