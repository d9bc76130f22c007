package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"
	"unicode"

	"keelson/internal/outbound"
	"keelson/internal/problem"
)

// mailTime is how long a mail server may take for all of one message.
const mailTime = 20 * time.Second

// reachable checks where a mail server stands by the rules for addresses; unprotected mail goes only where an
// administrator named the host.
func (m *Mail) reachable(calls *outbound.Client) error {
	scheme := "https://"
	if m.TLS == "none" {
		scheme = "http://"
	}
	err := calls.Check(scheme + m.Host)
	p, ok := problem.As(err)
	switch {
	case err == nil:
		return nil
	case ok && m.TLS == "none" && p.Attack == "":
		return problem.New(problem.Invalid, "Mail without TLS can be read and changed on the way; use starttls or tls, or have an administrator add the host to outbound_allow.").At("mail.tls")
	case ok:
		moved := *p
		return moved.At("mail.host")
	}
	return err
}

// compose writes the message as RFC 5322 with the text in quoted-printable. Nothing of it can begin a header of its own:
// addresses are parsed and written again, and the subject is encoded.
func compose(m *Mail, msg *Message, id string, at time.Time) ([]byte, error) {
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return nil, err
	}
	var to []string
	for _, t := range m.To {
		a, err := mail.ParseAddress(t)
		if err != nil {
			return nil, err
		}
		to = append(to, a.String())
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	head := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	head("From", from.String())
	head("To", strings.Join(to, ",\r\n "))
	head("Subject", mime.QEncoding.Encode("utf-8", problem.Clip(oneLine(msg.headline()), 300)))
	head("Date", at.Format(time.RFC1123Z))
	head("Message-ID", "<"+id+"@"+domain+">")
	head("Auto-Submitted", "auto-generated")
	head("MIME-Version", "1.0")
	head("Content-Type", "text/plain; charset=utf-8")
	head("Content-Transfer-Encoding", "quoted-printable")
	if !msg.Test { // mail programs put all turns of an alert into one thread
		head("References", "<"+strings.ReplaceAll(strings.ReplaceAll(oneLine(msg.dedup()), " ", "-"), "/", ".")+"@"+domain+">")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	text := msg.headline() + "\n\n" + msg.Words + "\n"
	for _, f := range msg.facts() {
		text += "\n" + f[0] + ": " + f[1]
	}
	if msg.Page != "" {
		text += "\n\n" + msg.Page
	}
	if _, err := w.Write([]byte(strings.ReplaceAll(text+"\n", "\n", "\r\n"))); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

// oneLine replaces what could end a line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// refusal is an answer of a receiver: for good, or for the moment.
type refusal struct {
	status int
	final  bool
	text   string
}

func (r *refusal) Error() string { return r.text }

// post sends one message.
func (m *Mail) post(ctx context.Context, calls *outbound.Client, password string, msg *Message, id string, at time.Time) error {
	body, err := compose(m, msg, id, at)
	if err != nil {
		return problem.New(problem.Invalid, "The mail cannot be written: %s.", err).At("mail")
	}
	if err := m.reachable(calls); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mailTime)
	defer cancel()
	name, _, err := net.SplitHostPort(m.Host)
	if err != nil {
		return problem.New(problem.Invalid, "%q is no name and port of a mail server.", problem.Clip(m.Host, 100)).At("mail.host")
	}
	conn, err := calls.Dial(ctx, m.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	err = m.talk(conn, calls.TLS(name), name, password, body)
	var answer *textproto.Error
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		return &refusal{answer.Code, answer.Code >= 500, fmt.Sprintf("The mail server answered %d: %s", answer.Code, problem.Clip(oneLine(answer.Msg), 300))}
	case errors.As(err, &timeout) && timeout.Timeout():
		return problem.New(problem.Unavailable, "%s did not answer in time; check the host, the port and what stands between.", m.Host).Because(err)
	}
	if _, ok := problem.As(err); ok {
		return err
	}
	return problem.New(problem.Unavailable, "The talk with %s broke off; check the port and whether it wants TLS.", m.Host).Because(err)
}

func (m *Mail) talk(conn net.Conn, secure *tls.Config, name, password string, body []byte) error {
	if m.TLS == "tls" {
		conn = tls.Client(conn, secure)
	}
	c, err := smtp.NewClient(conn, name)
	if err != nil {
		return certified(err)
	}
	defer c.Close()
	if err := c.Hello("keelson.localhost"); err != nil {
		return certified(err)
	}
	if m.TLS == "starttls" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return problem.New(problem.Invalid, "The mail server %s offers no STARTTLS, so nothing was sent; use tls, or another port.", m.Host).At("mail.tls")
		}
		if err := c.StartTLS(secure); err != nil {
			return certified(err)
		}
	}
	if m.User != "" {
		ok, ways := c.Extension("AUTH")
		var way smtp.Auth
		switch {
		case ok && strings.Contains(" "+ways+" ", " PLAIN "):
			way = smtp.PlainAuth("", m.User, password, name)
		case ok && strings.Contains(" "+ways+" ", " CRAM-MD5 "):
			way = smtp.CRAMMD5Auth(m.User, password)
		default:
			return problem.New(problem.Invalid, "The mail server %s offers no sign-in that Keelson knows (PLAIN, CRAM-MD5).", m.Host).At("mail.user")
		}
		if err := c.Auth(way); err != nil {
			return err
		}
	}
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return err
	}
	if err := c.Mail(from.Address); err != nil {
		return err
	}
	for _, t := range m.To {
		a, err := mail.ParseAddress(t)
		if err != nil {
			return err
		}
		if err := c.Rcpt(a.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // it has the message; how the talk ends is no matter
	return nil
}

// certified explains a certificate that is not valid.
func certified(err error) error {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return problem.New(problem.Unavailable, "The certificate of the mail server is not valid for its name; have it renewed, or name the server as the certificate does.").Because(err)
	}
	return err
}
