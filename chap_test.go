package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// The challenges of the examples in the RFCs.
const (
	rfc2433Challenge = "102db5df085d3041"
	rfc2759Challenge = "5b5d7c7d7b3f2f3e3c2c602132262628"
	rfc2759Peer      = "21402324255e262a28295f2b3a337c7e"
)

// TestMD4 has the examples of RFC 1320 appendix A.5, and values from OpenSSL at the lengths where the padding
// needs one more block.
func TestMD4(t *testing.T) {
	for _, test := range []struct{ message, want string }{
		{"", "31d6cfe0d16ae931b73c59d7e0c089c0"},
		{"a", "bde52cb31de33e46245e05fbdbd6fb24"},
		{"abc", "a448017aaf21d8525fc10ae87aa6729d"},
		{"message digest", "d9130a8164549fe818874806e1c7014b"},
		{"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"},
		{strings.Repeat("1234567890", 8), "e33b4ddc9c38f2199c3e7b164fcc0536"},
		{strings.Repeat("a", 55), "c889c81dd86c4d2e025778944ea02881"},
		{strings.Repeat("a", 56), "d5f9a9e9257077a5f08b0b92f348b0ad"},
		{strings.Repeat("a", 63), "7ea3da77432d44c323671097d1348fc8"},
		{strings.Repeat("a", 64), "52f5076fabd22680234a3fa9f9dc5732"},
		{strings.Repeat("a", 65), "330e377bf231f3cacfecc2c182fe7e5b"},
		{strings.Repeat("a", 128), "cb4a20a561558e29460190c91dced59f"},
	} {
		if got := md4([]byte(test.message)); !bytes.Equal(got, unhex(t, test.want)) {
			t.Errorf("%d bytes %q: got %x, want %s", len(test.message), test.message, got, test.want)
		}
	}
}

func TestChallengeResponses(t *testing.T) {
	challenge1, challenge2, peer := unhex(t, rfc2433Challenge), unhex(t, rfc2759Challenge), unhex(t, rfc2759Peer)
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"CHAP response", chapResponse(5, "secret", unhex(t, "000102030405060708090a0b0c0d0e0f")), "0a9065cdcebbe49bd1f1d1fda6ce3ff9"},
		{"CHAP response, id over 127", chapResponse(200, "secret", unhex(t, "0001020304050607")), "041bccc4fbd1a20fc37aba1ca2cb5615"},
		{"RFC 2433 NT hash", ntHash("MyPw"), "fc156af7edcd6c0edde3337d427f4eac"},
		{"RFC 2433 NT response", desResponse(ntHash("MyPw"), challenge1), "4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d61"},
		{"RFC 2759 NT hash", ntHash("clientPass"), "44ebba8d5312b8d611474411f56989ae"},
		{"RFC 2759 challenge hash", challengeHash(peer, challenge2, "User"), "d02e4386bce91226"},
		{"RFC 2759 challenge hash, with a domain", challengeHash(peer, challenge2, `DOMAIN\User`), "d02e4386bce91226"},
		{"RFC 2759 NT response", desResponse(ntHash("clientPass"), unhex(t, "d02e4386bce91226")), "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df"},
		// From OpenSSL: UTF-16 has surrogates above U+FFFF.
		{"NT hash beyond ASCII", ntHash("pässwörd😀"), "a395e2e215e896a8ec4b1657b229f081"},
	} {
		if !bytes.Equal(test.got, unhex(t, test.want)) {
			t.Errorf("%s: got %x, want %s", test.name, test.got, test.want)
		}
	}
}

// TestChapData checks the data of RFC 8907 sections 5.4.2.3 to 5.4.2.5: id, challenge, response. The
// responses are the known answers above. The LAN Manager response is zeros (RFC 2433 section 6), as are the
// flags, the last byte of v2 (RFC 2759 section 4).
func TestChapData(t *testing.T) {
	for _, test := range []struct {
		name            string
		typ             authenType
		user, password  string
		challenge, peer string
		want            string // after the id
	}{
		{"MS-CHAP", authenMSCHAP, "User", "MyPw", rfc2433Challenge, rfc2759Peer,
			rfc2433Challenge + strings.Repeat("00", 24) + "4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d61" + "01"},
		{"MS-CHAP v2", authenMSCHAPv2, "User", "clientPass", rfc2759Challenge, rfc2759Peer,
			rfc2759Challenge + rfc2759Peer + "0000000000000000" + "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" + "00"},
		{"MS-CHAP v2 with a domain", authenMSCHAPv2, `DOMAIN\User`, "clientPass", rfc2759Challenge, rfc2759Peer,
			rfc2759Challenge + rfc2759Peer + "0000000000000000" + "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df" + "00"},
	} {
		// A byte over 127 must not become a character, which has two bytes in UTF-8.
		for _, id := range []byte{0, 1, 127, 128, 200, 255} {
			t.Run(fmt.Sprintf("%s, id %d", test.name, id), func(t *testing.T) {
				got, err := chapData(test.typ, test.user, test.password, id, unhex(t, test.challenge), unhex(t, test.peer))
				if want := append([]byte{id}, unhex(t, test.want)...); err != nil || got != string(want) {
					t.Errorf("got %x, %v, want %x", got, err, want)
				}
			})
		}
	}
	// The response of CHAP depends on the id.
	for id, response := range map[byte]string{5: "0a9065cdcebbe49bd1f1d1fda6ce3ff9", 200: "d0c2343264b00dc079b312810b35a434"} {
		t.Run(fmt.Sprintf("CHAP, id %d", id), func(t *testing.T) {
			challenge := unhex(t, "000102030405060708090a0b0c0d0e0f")
			got, err := chapData(authenCHAP, "User", "secret", id, challenge, nil)
			if want := append(append([]byte{id}, challenge...), unhex(t, response)...); err != nil || got != string(want) {
				t.Errorf("got %x, %v, want %x", got, err, want)
			}
		})
	}
}

func TestChapDataLength(t *testing.T) {
	for _, test := range []struct {
		typ             authenType
		challenge, want int
	}{
		{authenCHAP, challengeSize(authenCHAP), 33},
		{authenCHAP, 8, 25},
		{authenCHAP, maxCHAPChallenge, 255}, // the limit of START
		{authenMSCHAP, challengeSize(authenMSCHAP), 58},
		{authenMSCHAPv2, challengeSize(authenMSCHAPv2), 66},
	} {
		got, err := chapData(test.typ, "user", "password", 255, make([]byte, test.challenge), make([]byte, 16))
		if err != nil || len(got) != test.want {
			t.Errorf("%s, challenge of %d bytes: got %d bytes, %v, want %d", test.typ, test.challenge, len(got), err, test.want)
		}
	}
	for _, typ := range []authenType{authenASCII, authenPAP} {
		if got := challengeSize(typ); got != 0 {
			t.Errorf("challenge size of %s: got %d, want 0", typ, got)
		}
	}
}

// TestChapDataNotUTF8: a password that is not UTF-8 cannot become UTF-16. CHAP accepts any bytes.
func TestChapDataNotUTF8(t *testing.T) {
	const password = "p\xe4ssword" // ISO 8859-1
	for typ, want := range map[authenType]string{
		authenCHAP:     "",
		authenMSCHAP:   "the password is not UTF-8, which mschap needs",
		authenMSCHAPv2: "the password is not UTF-8, which mschapv2 needs",
	} {
		data, err := chapData(typ, "user", password, 1, make([]byte, challengeSize(typ)), make([]byte, 16))
		if want == "" {
			if err != nil {
				t.Errorf("%s: got %v, want no error", typ, err)
			}
		} else if err == nil || err.Error() != want || data != "" {
			t.Errorf("%s: got %d bytes, %v, want %s", typ, len(data), err, want)
		}
	}
}

// TestNoLANManagerResponse: the client does not send the weak LAN Manager response. If a device sends it,
// serve checks only the NT response. RFC 2433 section 6.
func TestNoLANManagerResponse(t *testing.T) {
	t.Parallel()
	s := newScriptServer(t, testKey, &authenReply{status: authenPass})
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey, "TACACS_PLUS_PWD": "MyPw"}, "",
		split("authenticate User AT -t mschap --chap-challenge "+rfc2433Challenge, "AT", s.addr)...)
	var start authenStart
	if s.received(t, &start); got.code != classGranted.exit() || len(start.data) != 58 || start.data[9:33] != strings.Repeat("\x00", 24) {
		t.Fatalf("got %+v, the data is %x", got, start.data)
	}
	device := []byte(start.data)
	copy(device[9:], unhex(t, "91881d0152ab0c33c524135ec24a95ee64e23cdc2d33347d"))
	for _, data := range []string{start.data, string(device)} {
		start.data = data
		if !proves(&start, "MyPw") || proves(&start, "mypw") {
			t.Errorf("serve does not check the NT response of %x", data)
		}
	}
}
