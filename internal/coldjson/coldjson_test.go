package coldjson

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	A string   `json:"a"`
	B *int     `json:"b"`
	C []string `json:"c,omitempty"`
}

type Promoted struct {
	Key string `json:"key"`
}

// own marshals itself as text.
type own struct{ s string }

func (o own) MarshalText() ([]byte, error)     { return []byte(o.s), nil }
func (o *own) UnmarshalText(text []byte) error { o.s = string(text); return nil }

// everything has whatever a configuration or a record of ours may have.
type everything struct {
	Promoted
	Untagged  string
	Hidden    string `json:"-"`
	_         int
	S         string               `json:"s"`
	N         int                  `json:"n,omitempty"`
	U16       uint16               `json:"u16"`
	F         float64              `json:"f,omitzero"`
	Flag      bool                 `json:"flag"`
	Maybe     *bool                `json:"maybe"`
	Raw       json.RawMessage      `json:"raw,omitempty"`
	Bytes     []byte               `json:"bytes"`
	Addr      netip.Addr           `json:"addr,omitzero"`
	Prefixes  []netip.Prefix       `json:"prefixes"`
	When      time.Time            `json:"when"`
	Own       own                  `json:"own"`
	Inner     inner                `json:"inner"`
	Pointer   *inner               `json:"pointer,omitempty"`
	List      []inner              `json:"list"`
	Nested    [][]inner            `json:"nested,omitempty"`
	Pointers  []*inner             `json:"pointers"`
	Map       map[string]string    `json:"map,omitempty"`
	Structs   map[string]inner     `json:"structs"`
	Anything  any                  `json:"anything"`
	Anonymous struct{ X, Y int }   `json:"anonymous,omitzero"`
	Fixed     [2]int               `json:"fixed"`
	Deep      []map[string][]inner `json:"deep,omitempty"`
}

var samples = []string{
	`{}`, `null`, ` {"s":"x"} `,
	`{"s":"<&>é","n":3,"u16":65535,"f":1.5,"flag":true,"maybe":false,"key":"k","Untagged":"u","Hidden":"h","unseen":1}`,
	`{"S":"other case","FLAG":true,"sS":"none","Inner":{"A":"x"}}`,
	`{"s":"exact first","S":"not this"}`, `{"S":"not this","s":"exact last"}`,
	`{"raw": {"a" : [1, 2]} ,"bytes":"AAEC","addr":"10.0.0.1","prefixes":["10.0.0.0/8","::/0"],"when":"2026-01-02T03:04:05Z","own":"o"}`,
	`{"inner":{"a":"1","b":2,"c":["d"]},"pointer":{"b":7},"list":[{"a":"1"},{},null],"nested":[[{"a":"x"}],[],null],"pointers":[null,{"a":"p"}]}`,
	`{"inner":null,"pointer":null,"list":null,"list2":[],"maybe":null,"map":{"b":"1","a":"2"},"structs":{"k":{"a":"v"}},"anything":[1,{"x":null}]}`,
	`{"list":[],"prefixes":[],"anonymous":{"X":1,"y":2},"fixed":[1,2,3],"deep":[{"k":[{"a":"z"}]}],"unknown":{"deep":[[{}]]}}`,
	`{"s":1}`, `{"inner":{"a":5}}`, `{"list":[{"b":"x"}]}`, `{"inner":[]}`, `{"list":{}}`, `{"pointer":"x"}`, `{"u16":65536}`, `{"n":1.5}`,
	`[]`, `"x"`, `5`, `true`, ``, `{`, `{"s":}`, `{"s":"x"} x`, `{"s":"x",}`, `{"inner":{"a":"x"]}`, `{"addr":"no"}`, `{"own":5}`,
}

// same tells whether both ways of reading agree, and of writing what was read.
func same(t *testing.T, raw []byte) {
	t.Helper()
	var want, got everything
	wantErr, gotErr := json.Unmarshal(raw, &want), Unmarshal(raw, &got)
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("%q: error %v, of encoding/json %v", raw, gotErr, wantErr)
	}
	if wantErr != nil {
		sameError(t, raw, wantErr, gotErr)
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q:\n%+v\nof encoding/json\n%+v", raw, got, want)
	}
	wrote, err := Marshal(&got)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if should, _ := json.Marshal(&want); string(wrote) != string(should) {
		t.Fatalf("%q:\n%s\nof encoding/json\n%s", raw, wrote, should)
	}
}

func sameError(t *testing.T, raw []byte, want, got error) {
	t.Helper()
	var wantKind, gotKind *json.UnmarshalTypeError
	if !errors.As(want, &wantKind) {
		return // or it went on after a wrong type, and found worse
	}
	if !errors.As(got, &gotKind) {
		t.Fatalf("%q: error %v, of encoding/json %v", raw, got, want)
	}
	// encoding/json has the embedded struct's name in the path.
	field := strings.TrimPrefix(wantKind.Field, "Promoted.")
	kind := gotKind.Type
	if kind.Kind() == reflect.Pointer { // of a type that unmarshals itself
		kind = kind.Elem()
	}
	if gotKind.Field != field || kind != wantKind.Type || gotKind.Value != wantKind.Value {
		t.Fatalf("%q: error %+v, of encoding/json %+v", raw, gotKind, wantKind)
	}
}

func TestLikeEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		same(t, []byte(s))
	}
}

func TestWhatIsNoStruct(t *testing.T) {
	t.Parallel()
	var list []inner
	if err := Unmarshal([]byte(`[{"a":"1"},{"a":"2"}]`), &list); err != nil || len(list) != 2 || list[1].A != "2" {
		t.Errorf("a list of structs is %+v, %v", list, err)
	}
	var text string
	if err := Unmarshal([]byte(`"x"`), &text); err != nil || text != "x" {
		t.Errorf("a string is %q, %v", text, err)
	}
	if err := Unmarshal([]byte(`{}`), nil); err == nil {
		t.Error("nil was taken for a place to read into")
	}
	for _, v := range []any{nil, "x", list, inner{A: "v"}, (*inner)(nil), []*inner{nil}} {
		want, _ := json.Marshal(v)
		if got, err := Marshal(v); err != nil || string(got) != string(want) {
			t.Errorf("%#v is %s, %v; want %s", v, got, err, want)
		}
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	if out, err := Marshal(everything{Raw: json.RawMessage(`{`)}); err == nil {
		t.Errorf("invalid raw JSON was written: %s", out)
	}
}

func FuzzLikeEncodingJSON(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { same(t, raw) })
}
