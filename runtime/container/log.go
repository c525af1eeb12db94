package container

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Names of the streams of a LogLine.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// LogLine is one line of a container's log file, a JSON object per line. A
// line without a line feed at its end is part of a longer one.
type LogLine struct {
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Log    string    `json:"log"`
}

const (
	maxLogLine = 16 << 10 // longer lines are cut into parts
	maxLogFile = 16 << 20 // then the file becomes PATH.1, over an older one
)

// logFile writes the log and keeps it bounded: at most two files of
// maxLogFile.
type logFile struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
}

func createLog(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	return &logFile{path: path, file: file}, nil
}

func (l *logFile) Close() error { return l.file.Close() }

func (l *logFile) write(stream string, text []byte) error {
	raw, err := json.Marshal(LogLine{time.Now().UTC(), stream, string(text)})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > maxLogFile {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(append(raw, '\n'))
	l.size += int64(n)
	return err
}

func (l *logFile) rotate() error {
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	next, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file.Close()
	l.file, l.size = next, 0
	return nil
}

// copyLines copies a stream of the container to its log, line by line, and at
// once to the client where there is one. A log that cannot be written, for
// want of space, does not stop the container.
func (l *logFile) copyLines(stream string, r io.Reader, client io.Writer) {
	var pending []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if client != nil {
				client.Write(buf[:n])
			}
			pending = l.writeLines(stream, append(pending, buf[:n]...))
		}
		if err != nil {
			break
		}
	}
	if len(pending) > 0 {
		l.write(stream, pending)
	}
}

// writeLines writes the complete lines of text and returns the rest.
func (l *logFile) writeLines(stream string, text []byte) []byte {
	for {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 && len(text) < maxLogLine {
			return append([]byte(nil), text...)
		}
		if end == 0 || end > maxLogLine {
			end = maxLogLine
		}
		l.write(stream, text[:end])
		text = text[end:]
	}
}
