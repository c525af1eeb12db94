package nlsock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Batch is a run of netlink messages under construction. Messages and nested
// attributes are opened and closed in turn; lengths and padding (four bytes,
// include/uapi/linux/netlink.h) are filled in.
type Batch struct {
	buf   []byte
	start int      // of the message that is open
	whats []string // what each message does, for errors
}

const (
	headerLen  = 16
	attrHdrLen = 4
	nested     = 1 << 15 // NLA_F_NESTED
)

// Len is the number of messages.
func (b *Batch) Len() int { return len(b.whats) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.buf, b.whats = b.buf[:0], b.whats[:0] }

// Message begins a message; what names the request in errors, for example
// "add address 10.0.0.2/24". NLM_F_REQUEST is implied.
func (b *Batch) Message(typ, flags uint16, what string) {
	b.close()
	b.start = len(b.buf)
	b.whats = append(b.whats, what)
	b.U32(0) // length
	b.U16(typ)
	b.U16(flags | unix.NLM_F_REQUEST)
	b.U32(0) // sequence, set when sent
	b.U32(0) // port: the kernel's
}

// close fills in the length of the open message.
func (b *Batch) close() {
	if len(b.whats) > 0 {
		binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
	}
}

// U8, U16 and U32 append raw values in the machine's byte order, and Zeros
// padding: for the fixed header of a message.
func (b *Batch) U8(v uint8)   { b.buf = append(b.buf, v) }
func (b *Batch) U16(v uint16) { b.buf = binary.NativeEndian.AppendUint16(b.buf, v) }
func (b *Batch) U32(v uint32) { b.buf = binary.NativeEndian.AppendUint32(b.buf, v) }
func (b *Batch) Zeros(n int)  { b.buf = append(b.buf, make([]byte, n)...) }

// Nest opens a nested attribute; End closes it.
func (b *Batch) Nest(typ uint16) (mark int) {
	mark = len(b.buf)
	b.U16(0)
	b.U16(typ | nested)
	return mark
}

// NestRaw opens an attribute that holds attributes but is not flagged as
// nested, as rtnetlink's older ones are.
func (b *Batch) NestRaw(typ uint16) (mark int) {
	mark = len(b.buf)
	b.U16(0)
	b.U16(typ)
	return mark
}

// End closes the nested attribute that mark began.
func (b *Batch) End(mark int) {
	binary.NativeEndian.PutUint16(b.buf[mark:], uint16(len(b.buf)-mark))
}

// Bytes appends an attribute.
func (b *Batch) Bytes(typ uint16, data []byte) {
	b.U16(uint16(attrHdrLen + len(data)))
	b.U16(typ)
	b.buf = append(b.buf, data...)
	b.pad()
}

// String appends a zero-terminated string attribute.
func (b *Batch) String(typ uint16, s string) {
	b.U16(uint16(attrHdrLen + len(s) + 1))
	b.U16(typ)
	b.buf = append(b.buf, s...)
	b.buf = append(b.buf, 0)
	b.pad()
}

// Uint8, Uint16 and Uint32 append attributes in the machine's byte order;
// BE16 and BE32 in the network's, as netfilter wants them.
func (b *Batch) Uint8(typ uint16, v uint8) { b.Bytes(typ, []byte{v}) }
func (b *Batch) Uint16(typ uint16, v uint16) {
	b.Bytes(typ, binary.NativeEndian.AppendUint16(nil, v))
}
func (b *Batch) Uint32(typ uint16, v uint32) {
	b.Bytes(typ, binary.NativeEndian.AppendUint32(nil, v))
}
func (b *Batch) BE16(typ uint16, v uint16) { b.Bytes(typ, binary.BigEndian.AppendUint16(nil, v)) }
func (b *Batch) BE32(typ uint16, v uint32) { b.Bytes(typ, binary.BigEndian.AppendUint32(nil, v)) }

func (b *Batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// Attrs calls fn for each attribute in data, and stops at a malformed one.
func Attrs(data []byte, fn func(typ uint16, value []byte)) {
	for len(data) >= attrHdrLen {
		length := int(binary.NativeEndian.Uint16(data))
		if length < attrHdrLen || length > len(data) {
			return
		}
		fn(binary.NativeEndian.Uint16(data[2:])&0x3fff, data[attrHdrLen:length])
		data = data[min(len(data), (length+3)&^3):]
	}
}
