// Package coldjson is encoding/json for a process that meets each of its types
// once. There the plan that encoding/json makes of a struct before it reads or
// writes the first, of every field and whatever is below it, costs ten times
// what its use does: together about a millisecond of an ADD. Here a struct's
// fields are looked at as they come, and only what is no struct is left to
// encoding/json.
//
// Tags, names in other case, omitempty, omitzero, embedded structs, and types
// that marshal themselves mean what they mean there. An option "string", and
// embedded structs whose keys collide, are not known.
package coldjson

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// field is where a key of an object belongs.
type field struct {
	name      string
	index     int
	embedded  bool // its own fields are keys of the same object
	omitEmpty bool
	omitZero  bool
}

// fields are those of a struct that have keys.
func fields(t reflect.Type) []field {
	all := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && !marshalsItself(f.Type):
			all = append(all, field{index: i, embedded: true})
			continue
		case !f.IsExported() || tagged && tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		all = append(all, field{
			name: name, index: i, omitEmpty: strings.Contains(options, "omitempty"), omitZero: strings.Contains(options, "omitzero"),
		})
	}
	return all
}

var marshalers = [...]reflect.Type{
	reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
	reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
}

// marshalsItself tells whether a struct has methods of its own for JSON or
// text, or its pointer has.
func marshalsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, m := range marshalers {
		if p.Implements(m) {
			return true
		}
	}
	return false
}

// composite tells whether a type is a struct to be walked, or a pointer to or
// a list of such.
func composite(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Name() != "" && marshalsItself(t) {
			return false
		}
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && !marshalsItself(t)
}
