package main

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/plumbline/plumbline/internal/redact"
)

// newLogger writes the daemon's own log: a line of JSON each, or for people when w is a terminal. Every secret of the configuration is masked
// on its way out, whatever error it came in.
func newLogger(w io.Writer, secrets []string, human bool) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	enc.TimeKey = "time"
	encoder := zapcore.NewJSONEncoder(enc)
	if human {
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05")
		enc.EncodeLevel = zapcore.LowercaseLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(maskedLines{w, redact.New(secrets...).WithShapes()}), zap.InfoLevel))
}

// maskedLines masks whole log lines; zap writes each with one call.
type maskedLines struct {
	w io.Writer
	m *redact.Masker
}

func (l maskedLines) Write(p []byte) (int, error) {
	if _, err := io.WriteString(l.w, l.m.String(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (maskedLines) Sync() error { return nil }
