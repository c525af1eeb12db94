package plugins_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/berth-net/berth/plugins"
)

func TestEveryCodeIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/error-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []plugins.Code{
		plugins.CodeIncompatibleVersion, plugins.CodeUnsupportedField, plugins.CodeUnknownContainer, plugins.CodeInvalidEnvironment,
		plugins.CodeIO, plugins.CodeDecode, plugins.CodeInvalidConfig, plugins.CodeTryAgain, plugins.CodeNotAvailable,
		plugins.CodeAttached, plugins.CodeInternal,
	} {
		if !strings.Contains(string(page), fmt.Sprintf("\n| %d |", code)) {
			t.Errorf("docs/error-codes.md has no row for %d", code)
		}
	}
	if strings.Count(string(page), "\n| ") != 1+11 {
		t.Error("docs/error-codes.md has a row for no code")
	}
}
