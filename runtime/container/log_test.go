package container

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/state"
)

func TestLogIsBoundedAndReadAcrossTheRotation(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := &Container{Config: Config{ID: strings.Repeat("0", 32)}, store: At(root, state.ForBoot(root, "boot"))}
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := createLog(c.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 1<<20) + "\n"
	log.copyLines(Stdout, strings.NewReader(strings.Repeat(line, 40)), nil)
	log.copyLines(Stderr, strings.NewReader("the last, without an end"), nil)
	log.Close()
	var size int64
	files, _ := filepath.Glob(c.LogPath() + "*")
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if len(files) != 2 || size > 2*(maxLogFile+2*maxLogLine) {
		t.Errorf("%q have %d octets", files, size)
	}
	var last LogLine
	total := 0
	err = c.Logs(context.Background(), LogOptions{}, func(l LogLine) error {
		last, total = l, total+len(l.Log)
		return nil
	})
	if err != nil || last.Stream != Stderr || last.Log != "the last, without an end" || total < maxLogFile/2 {
		t.Errorf("%v, %d octets, last %+v", err, total, last)
	}
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	w := &frameWriter{w: &b}
	w.write(frameStdout, []byte("hello"))
	f.Add(b.Bytes())
	f.Add([]byte{'o', 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		for {
			_, payload, err := readFrame(r)
			if err != nil {
				return
			}
			if len(payload) > maxFrame {
				t.Fatalf("a payload of %d octets", len(payload))
			}
		}
	})
}
