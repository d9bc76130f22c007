package db

import (
	"encoding/base32"

	"github.com/google/uuid"
)

var idAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID makes an identifier: a UUIDv7 as 26 lower-case characters of Crockford's base32. Identifiers sort by the time
// they were made.
func NewID() string {
	u := uuid.Must(uuid.NewV7())
	return idAlphabet.EncodeToString(u[:])
}
