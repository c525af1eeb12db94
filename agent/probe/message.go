package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind is how a message's checksum comes to be.
type Kind uint8

// Kinds of messages.
const (
	Plain  Kind = iota // UDP; this program computes it
	UDP                // left to the device, as for the UDP of a container
	TCP                // left to the device, as for the TCP of a container
	nKinds int  = iota
)

// message is what a probe says, behind a UDP or TCP header.
type message struct {
	answer bool
	kind   Kind   // of the question
	good   bool   // in an answer: the question's checksum was right
	token  uint64 // of the question
}

var magic = []byte("berth probe 1\n")

// messageLen is magic, three bytes and the token.
var messageLen = len(magic) + 3 + 8

var errNotOurs = errors.New("not a probe")

func (m message) encode() []byte {
	b := append(bytes.Clone(magic), boolByte(m.answer), byte(m.kind), boolByte(m.good))
	return binary.BigEndian.AppendUint64(b, m.token)
}

func decode(b []byte) (m message, err error) {
	rest, ok := bytes.CutPrefix(b, magic)
	if !ok || len(b) < messageLen {
		return m, errNotOurs
	}
	if rest[0] > 1 || int(rest[1]) >= nKinds || rest[2] > 1 {
		return m, fmt.Errorf("decode probe % x: %w", rest, errNotOurs)
	}
	return message{answer: rest[0] == 1, kind: Kind(rest[1]), good: rest[2] == 1, token: binary.BigEndian.Uint64(rest[3:])}, nil
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
