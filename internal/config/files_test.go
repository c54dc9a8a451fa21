package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every variable may come as a file.
func TestAVariableMayBeTheNameOfAFile(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"mongodb://u:p@a/x":       "mongodb://u:p@a/x",
		"mongodb://u:p@a/x\n":     "mongodb://u:p@a/x",
		"mongodb://u:p@a/x\r\n":   "mongodb://u:p@a/x",
		"mongodb://u:p@a/x?y=1\n": "mongodb://u:p@a/x?y=1",
	} {
		got, err := Load(variables{"MONGO_URI_FILE": file(t, content)}.lookup)
		require.NoError(t, err)
		require.Equal(t, want, got.MongoURI)
	}
	got, err := Load(variables{
		"SENDGRID_API_KEY_FILE": file(t, "SG.x\n"), "EMAIL_PROVIDER_FILE": file(t, "sendgrid"),
		"IDP_TOKEN_FILE": file(t, "token\n"), "SMTP_URL_FILE": file(t, "smtp://u:p@mail.example\n"),
		"AMQP_URL_FILE": file(t, "amqp://u:p@rabbit\n"), "PAYLOAD_KEYS_FILE": file(t, payloadKeys+"\n"),
		"DIRECT_LIMIT_FILE": file(t, "7\n"), "LOG_LEVEL_FILE": file(t, "warn\n"),
	}.lookup)
	require.NoError(t, err)
	require.Equal(t, "SG.x", got.SendGrid.APIKey)
	require.Equal(t, []string{"sendgrid"}, got.EmailProvider)
	require.Equal(t, "token", got.IDP.Token)
	require.Equal(t, "p", got.SMTP.Password)
	require.Equal(t, "amqp://u:p@rabbit", got.AMQPURL)
	require.True(t, got.Codec.Keys.Encrypt())
	require.Equal(t, 7, got.DirectLimit)
}

func TestAFileThatCannotBeTheValue(t *testing.T) {
	t.Parallel()
	_, err := Load(variables{"MONGO_URI": "mongodb://u:hunter2@a/x", "MONGO_URI_FILE": file(t, "mongodb://u:hunter2@a/x")}.lookup)
	requireNamed(t, "MONGO_URI", err)
	require.ErrorContains(t, err, "BELFRY_MONGO_URI_FILE")

	for name, content := range map[string]string{
		"MONGO_URI": "mongodb://u:hun/ter2@x/y", "AMQP_URL": "hunter2", "SMTP_URL": "smtp://u:hun/ter2@x", "HTTP_ADDR": "hunter2",
		"LOG_LEVEL": "hunter2", "LOG_FORMAT": "hunter2", "EMAIL_FROM": "hunter2", "SMTP_HELLO_NAME": "hun ter2", "TRUSTED_PROXIES": "hunter2",
		"CODEC_ORIGINS": "hunter2", "IDP_TOKEN": "hun\nter2", "SENDGRID_API_KEY": "SG.hun\nter2", "SENDGRID_WEBHOOK_KEY": "hunter2",
		"DIRECT_LIMIT": "hunter2", "SWEEP_INTERVAL": "hunter2", "PAYLOAD_KEYS": "hunter2", "IDP_TLS": "hunter2", "IDP_CA_FILE": "/hunter2",
		"EMAIL_PROVIDER": "hunter2", "RATE_LIMIT": "hunter2", "SENDGRID_URL": "hunter2", "SMTP_RATE": "hunter2", "IDP_ADDR": "hunter2",
	} {
		_, err := Load(variables{name + FileSuffix: file(t, content)}.lookup)
		requireNamed(t, name+FileSuffix, err)
	}
	empty, secret := file(t, "\n"), filepath.Join(t.TempDir(), "hunter2")
	require.NoError(t, os.MkdirAll(secret, 0o700))
	for _, wrong := range []string{empty, secret, secret + "/none", "mongodb://u:hunter2@a/x", "a\nb"} {
		_, err := Load(variables{"MONGO_URI_FILE": wrong}.lookup)
		requireNamed(t, "MONGO_URI_FILE", err)
	}
}
