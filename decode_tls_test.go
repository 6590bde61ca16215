package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The simple handshake of RFC 8448 section 3, with AES-128: > the client, < the server.
const (
	traceOfRFC = `
> 16030100c4010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113031302010000910000000b0009000006736572766572ff010001
  00000a00140012001d0017001800190100010101020103010400230000003300260024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b0003
  020304000d0020001e040305030603020308040805080604010501060102010402050206020202002d00020101001c00024001
< 160303005a020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100002e00330024001d0020c9828876112095fe66762bdbf7c672e156d6
  cc253b833df1dd69b1b04e751f0f002b00020304
< 17030302a2d1ff334a56f5bff6594a07cc87b580233f500f45e489e7f33af35edf7869fcf40aa40aa2b8ea73f848a7ca07612ef9f945cb960b4068905123ea78b111b429ba9191cd05d2a3
  89280f526134aadc7fc78c4b729df828b5ecf7b13bd9aefb0e57f271585b8ea9bb355c7c79020716cfb9b1183ef3ab20e37d57a6b9d7477609aee6e122a4cf51427325250c7d0e50928944
  4c9b3a648f1d71035d2ed65b0e3cdd0cbae8bf2d0b227812cbb360987255cc744110c453baa4fcd610928d809810e4b7ed1a8fd991f06aa6248204797e36a6a73b70a2559c09ead686945b
  a246ab66e5edd8044b4c6de3fcf2a89441ac66272fd8fb330ef8190579b3684596c960bd596eea520a56a8d650f563aad27409960dca63d3e688611ea5e22f4415cf9538d51a200c270342
  72968a264ed6540c84838d89f72c24461aad6d26f59ecaba9acbbb317b66d902f4f292a36ac1b639c637ce343117b659622245317b49eeda0c6258f100d7d961ffb138647e92ea330faeea
  6dfa31c7a84dc3bd7e1b7a6c7178af36879018e3f252107f243d243dc7339d5684c8b0378bf30244da8c87c843f5e56eb4c5e8280a2b48052cf93b16499a66db7cca71e4599426f7d461e6
  6f99882bd89fc50800becca62d6c74116dbd2972fda1fa80f85df881edbe5a37668936b335583b599186dc5c6918a396fa48a181d6b6fa4f9d62d513afbb992f2b992f67f8afe67f76913f
  a388cb5630c8ca01e0c65d11c66a1e2ac4c85977b7c7a6999bbf10dc35ae69f5515614636c0b9b68c19ed2e31c0b3b66763038ebba42f3b38edc0399f3a9f23faa63978c317fc9fa66a73f
  60f0504de93b5b845e275592c12335ee340bbc4fddd502784016e4b3be7ef04dda49f4b440a30cb5d2af939828fd4ae3794e44f94df5a631ede42c1719bfdabf0253fe5175be898e750edc
  53370d2b
> 170303003575ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338ac98fc46deb384bd1caeacab6867d726c40546
< 17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c
  7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94
  c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985
  684f
> 1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4
< 17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d
> 1703030013c9872760655666b74d7ff1153efd6db6d0b0e3
< 1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9
`
	keysOfRFC = `CLIENT_HANDSHAKE_TRAFFIC_SECRET cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21
SERVER_HANDSHAKE_TRAFFIC_SECRET cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38
CLIENT_TRAFFIC_SECRET_0 cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5
SERVER_TRAFFIC_SECRET_0 cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7 a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643
`
)

// A conversation of openssl's s_client with its s_server, with AES-256: the client asks for new
// keys of both sides ("K"), and then renews its own ("k").
const (
	traceOfOpenSSL = `
> 16030100ca010000c6030309b861b776ceac5c39f4ee4035647d0b9fda9f6972c5ae02049aabe4a67ce2e920ba039a81f09333b413c37f4940cab0a6745988f8dcf91e71e7761545e2b5eb
  3700121302c02ccca9c02bc024c023c00ac00900ff0100006b00000006000400000178000b000403000102000a00040002001d002300000016000000170000000d000400020807002b0009
  080304030303020301002d00020101003300260024001d002044f9f76602a8f92206ea1165299f109d85421c1dc062e9ecbbe6f1e41dfa5c2d
< 160303007a0200007603032a7e0a7f82b27eb0a05f0a6d85a4273af5a60f9bf9262d8fc48cda50cf51743820ba039a81f09333b413c37f4940cab0a6745988f8dcf91e71e7761545e2b5eb
  37130200002e002b0002030400330024001d0020670af36012a88b164d532d1e52a5b5affd2c35c4998a7bdc12bc688aae4f804314030300010117030300176f6338a0ecd4646f2856cb58
  888d4f551bcb6fa107b81217030300f32e1af1a06428a79ba06b2a164b199d66bbb3d16fcd707ecd0d8397bdeded2fa68313933ebcd1ad95dc3e13b3d453adcdc98965b18f0eff6af6aff2
  210704f5457645b750b76db076edd6b08ffae8392bdf72559ea5a8ad882a37e1da2e1ebc50b763b4ec43dbd226b7d6165de984b3c8631e5882a2983146d74a28e5f5f4200fdda527da22ba
  183a5498c5564aaef5135252066fe2fc1d0de18c4a75edccfc34c522e006ce9a0c3ef6f6c3c3cd81cf0ba0ecd4dc7a65cb2808beb5de33d54ff55a83fcdda9e597f76f3c011c2bafa43320
  280646745d72c8a4a5e3962b33a300919c8b178481dddfc774e927e7507a4e1598cd1703030059569742432fd77214ff20ff78b9bf956670cb0ccc4879ea34ce0d9d773bab48c2858a63ae
  b8c93e04d177fc694a800b38451bf146b23cbbd12a00ed35d963c47f937c0dbb80eec19c29cdffd054f3e6fa09da2cef91446fe5241703030045287dfc16a16dfa481e59a006d78041e5ce
  b1a16dfe99fea02cd56a3e5f7c7d748fe969c64fadb64c790152a3570699864b8d177c6b690c139a838912db819ac6a67f6696ad
> 1403030001011703030045d94f4cf38da1a1f877c7903f9b9543799a961cea00a5c8ad4afd84c470b02e8182c4cbe4bd5ff3f1dc4c36a16aa31f19a31bfe51c9255d287f2775d5e055b2c3
  ccfed84308
> 17030300135b740533ea2c33a328fa0549aac14cf4025d76
< 1703030013657ef245b79b1382316279a2265fa0586fb0fe
> 17030300166b4f888d436102f44e0951949748dd7a4c34511ccbb6
> 1703030013ea565e9399fafbe79de2349b00cd0acfa3ea80
< 17030300164657e6b362ec059d95a832fc72fbf6fd7504200448f0
< 170303001354a3469a47887e3df597fc66b9d8c9ac3a3dd1
> 1703030016db7425d9c516557918cb251641edf23c64f9d2d02298
> 1703030013c3f3876f33899a3e336999db603920e9856602
> 1703030013ffae794c1125c55d5f0e2c04b7be87856f0c95
< 1703030013c7cc3d07af91d07d574318a29043f6e63c3fee
`
	keysOfOpenSSL = `SERVER_HANDSHAKE_TRAFFIC_SECRET 09b861b776ceac5c39f4ee4035647d0b9fda9f6972c5ae02049aabe4a67ce2e9 3e1ce3e0ef94154c4678d67854ffd9253ecd9f1b966a0f53c81c3641f94f6469514d84c390aa75066f6b52308e0425b4
SERVER_TRAFFIC_SECRET_0 09b861b776ceac5c39f4ee4035647d0b9fda9f6972c5ae02049aabe4a67ce2e9 cc6d3dd21545c0d263216b841add86c6f47bd0a13085f0302600021ef7a0a98ff113b65f2b1d6d1329d6027643fff366
CLIENT_HANDSHAKE_TRAFFIC_SECRET 09b861b776ceac5c39f4ee4035647d0b9fda9f6972c5ae02049aabe4a67ce2e9 876c100b50a1f63c857a92641e3e5e79bf3afd01955ad3729615f0b7d9282669f58857812cf06b1af66668751baf4ead
CLIENT_TRAFFIC_SECRET_0 09b861b776ceac5c39f4ee4035647d0b9fda9f6972c5ae02049aabe4a67ce2e9 f530d358883092c53013eb10df1d070c23af1f7f21f3e7ee4d7fd1f55f06c0a5a9728618262b90c3ebab236bd7330752
`
)

// A tlsWord is what one side sent at once.
type tlsWord struct {
	from int
	data []byte
}

func parseWords(t testing.TB, text string) (words []tlsWord) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(text)) {
		data := unhex(t, line[1:])
		if line[0] == ' ' {
			last := &words[len(words)-1]
			last.data = append(last.data, data...)
		} else {
			words = append(words, tlsWord{strings.Index("><", line[:1]), data})
		}
	}
	return words
}

func keyLogOf(t testing.TB, text string) *keyLog {
	t.Helper()
	k, err := loadKeyLog("-", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A tlsListener hears one conversation.
type tlsListener struct {
	*tlsConversation
	data [2]string
	log  []string // who said it, when, and how much
}

func newTLSListener(k *keyLog) *tlsListener {
	l := &tlsListener{}
	l.tlsConversation = newTLSConversation(k, func(from int, at time.Time, data []byte) {
		l.data[from] += string(data)
		l.log = append(l.log, fmt.Sprintf("%s %d: %d bytes", endNames[from], at.Unix(), len(data)))
	})
	return l
}

// hear gives the words to a conversation in pieces of a size of up to size bytes. The time is the
// number of the word.
func (l *tlsListener) hear(words []tlsWord, size int) *tlsListener {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i, w := range words {
		for rest := bytes.Clone(w.data); len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(size))
			l.add(w.from, time.Unix(int64(i), 0), rest[:n])
			clear(rest[:n]) // they are good for the call only
			rest = rest[n:]
		}
	}
	return l
}

// facts are all that is known of a conversation.
func (l *tlsListener) facts() string {
	return fmt.Sprintf("name %q cipher %q alert %q problem %q early %v data %q",
		l.serverName, l.cipher, l.alert, l.problem, l.earlyData, l.data)
}

func (l *tlsListener) check(t *testing.T, want string) {
	t.Helper()
	if got := l.facts(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestTLSVectors reads what others have sealed: the RFC's example, and openssl with new keys.
func TestTLSVectors(t *testing.T) {
	t.Parallel()
	fifty := unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031")
	for _, tt := range []struct{ trace, keys, want string }{
		{traceOfRFC, keysOfRFC, fmt.Sprintf(`name "server" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "" early false data [%q %[1]q]`, fifty)},
		{traceOfOpenSSL, keysOfOpenSSL,
			`name "x" cipher "TLS_AES_256_GCM_SHA384" alert "" problem "" early false data ["1\n3\n5\n" "2\n4\n"]`},
	} {
		for _, size := range []int{1, 2, 7, 100, 1 << 14} {
			newTLSListener(keyLogOf(t, tt.keys)).hear(parseWords(t, tt.trace), size).check(t, tt.want)
		}
	}
}

// TestTLSWithoutSecrets says why there is no data, and no secret in that.
func TestTLSWithoutSecrets(t *testing.T) {
	t.Parallel()
	words := parseWords(t, traceOfRFC)
	const name = `name "server" cipher "TLS_AES_128_GCM_SHA256" alert "" `
	const end = ` early false data ["" ""]`
	for _, tt := range []struct {
		keys *keyLog
		want string
	}{
		{nil, name + `problem "there is no key log to read it with"` + end},
		{keyLogOf(t, ""), name + `problem "the key log has no secret for its client random cb34ecb1e78163ba..."` + end},
		{keyLogOf(t, keysOfOpenSSL), name + `problem "the key log has no secret for its client random cb34ecb1e78163ba..."` + end},
		{keyLogOf(t, strings.ReplaceAll(keysOfRFC, "SERVER_TRAFFIC", "OTHER")),
			name + `problem "the key log has no SERVER_TRAFFIC_SECRET_0 for its client random cb34ecb1e78163ba..."` +
				fmt.Sprintf(` early false data [%q ""]`, unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"))},
		{keyLogOf(t, strings.ReplaceAll(keysOfRFC, " b67b", " b67c")),
			name + `problem "the secrets of the key log do not open what the server sends"` +
				fmt.Sprintf(` early false data [%q ""]`, unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"))},
		{keyLogOf(t, strings.NewReplacer(" b67b", " b67c", "CLIENT_H", "OTHER").Replace(keysOfRFC)),
			name + `problem "the secrets of the key log do not open what the server sends"` + end},
	} {
		newTLSListener(tt.keys).hear(words, 1<<14).check(t, tt.want)
	}
	// What is wrong with one side stays, whatever becomes of the other.
	k := keyLogOf(t, strings.NewReplacer(" b67b", " b67c", "CLIENT_H", "OTHER").Replace(keysOfRFC))
	l := newTLSListener(k).hear(words[:2], 1<<14).hear(words[3:4], 1<<14).hear(words[2:3], 1<<14)
	for line := range strings.Lines(keysOfRFC) {
		k.parse(line)
	}
	l.hear(words[5:6], 1<<14)
	if l.problem != "the secrets of the key log do not open what the server sends" || l.data[0] == "" {
		t.Error(l.facts())
	}
}

// recordTLS is a conversation of Go's client with Go's server. The client speaks first, if it can.
func recordTLS(t *testing.T, client, server *tls.Config, data string) (words []tlsWord, keys string, suite uint16) {
	t.Helper()
	var mu sync.Mutex
	var log bytes.Buffer
	client = client.Clone()
	client.KeyLogWriter = &log
	l := listen(t)
	done := make(chan struct{})
	note := func(conn net.Conn, from int) net.Conn {
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		return &notedConn{conn, func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			words = append(words, tlsWord{from, bytes.Clone(b)})
		}}
	}
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		secure := tls.Server(note(conn, 1), server)
		io.Copy(secure, secure)
		secure.Close()
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	secure := tls.Client(note(conn, 0), client)
	if _, err := io.WriteString(secure, data); err == nil {
		back := make([]byte, len(data))
		if _, err := io.ReadFull(secure, back); err != nil || string(back) != data {
			t.Error(err)
		}
		secure.CloseWrite()
		io.Copy(io.Discard, secure)
	}
	conn.Close()
	<-done
	return words, log.String(), secure.ConnectionState().CipherSuite
}

type notedConn struct {
	net.Conn
	note func([]byte)
}

func (c *notedConn) Write(b []byte) (int, error) {
	c.note(b)
	return c.Conn.Write(b)
}

// TestTLSOfGo reads conversations of crypto/tls.
func TestTLSOfGo(t *testing.T) {
	t.Parallel()
	config := func(change func(*x509.Certificate)) *tls.Config {
		pair, _, err := selfSigned(change)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: pair}
	}
	plain, big := config(nil), config(func(c *x509.Certificate) {
		for i := range 1000 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("server-%032d.example", i))
		}
	})
	retry := plain.Clone()
	retry.CurvePreferences = []tls.CurveID{tls.CurveP384}
	mutual := plain.Clone()
	mutual.ClientAuth = tls.RequireAnyClientCert
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "tac.example"}
	withCert := client.Clone()
	withCert.Certificates = big.Certificates
	old := client.Clone()
	old.MaxVersion = tls.VersionTLS12
	resuming := client.Clone()
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	many := strings.Repeat("0123456789", 10_000)
	const (
		read = `name "tac.example" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "" early false data ["hello" "hello"]`
	)
	noAES := false
	for _, tt := range []struct {
		name           string
		client, server *tls.Config
		data, want     string
	}{
		{"simple", client, plain, "hello", read},
		{"many records", client, plain, many, strings.ReplaceAll(read, "hello", many)},
		{"a certificate of several records", client, big, "hello", read},
		{"a certificate of several records, of the client", withCert, mutual, "hello", read},
		{"HelloRetryRequest", client, retry, "hello", read},
		{"tickets", resuming, plain, "hello", read},
		{"resumed", resuming, plain, "hello", read},
		{"TLS 1.2", old, plain, "hello", `name "tac.example" cipher "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" alert "" ` +
			`problem "it is TLS 1.2, which RFC 9887 section 3.2 forbids" early false data ["" ""]`},
		{"an alert in clear", old, &tls.Config{Certificates: plain.Certificates, MinVersion: tls.VersionTLS13}, "",
			`name "tac.example" cipher "" alert "protocol version not supported (from the server)" problem "" early false data ["" ""]`},
	} {
		words, keys, suite := recordTLS(t, tt.client, tt.server, tt.data)
		switch name := tls.CipherSuiteName(suite); {
		case suite == tls.TLS_CHACHA20_POLY1305_SHA256: // which Go prefers where the processor has no AES
			tt.want = `name "tac.example" cipher "` + name + `" alert "" problem "its cipher is ` + name +
				`, which Go's standard library does not offer" early false data ["" ""]`
			noAES = true
		case tt.client == old && suite != 0:
			tt.want = strings.Replace(tt.want, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", name, 1)
		}
		for _, size := range []int{3, 1000, 1 << 16} {
			l := newTLSListener(keyLogOf(t, keys)).hear(words, size)
			if got := l.facts(); got != tt.want {
				t.Errorf("%s: got  %.400s\nwant %.400s", tt.name, got, tt.want)
			}
		}
		switch retries := bytes.Count(words[1].data, retryRandom[:]) > 0; {
		case retries != (tt.name == "HelloRetryRequest"):
			t.Errorf("%s: a HelloRetryRequest is %v", tt.name, retries)
		case tt.name == "resumed" && bytes.Contains(words[0].data, []byte{0, 41}) == false:
			t.Errorf("%s: it is not", tt.name)
		}
	}
	// A client that does not trust the server says so under the secret of the handshake, and has
	// no other one.
	strict := &tls.Config{ServerName: "tac.example", RootCAs: x509.NewCertPool()}
	words, keys, _ := recordTLS(t, strict, plain, "hello")
	l := newTLSListener(keyLogOf(t, keys)).hear(words, 1<<16)
	alert := "bad certificate (from the client)"
	if noAES {
		alert = "" // it cannot be read
	}
	if l.alert != alert || strings.Contains(keys, "CLIENT_TRAFFIC") {
		t.Error(l.facts())
	}
	// Without a key log there is still what is in clear.
	words, _, _ = recordTLS(t, old, &tls.Config{Certificates: plain.Certificates, MinVersion: tls.VersionTLS13}, "")
	newTLSListener(nil).hear(words, 1<<16).check(t, `name "tac.example" cipher "" alert "protocol version not supported (from the server)" `+
		`problem "there is no key log to read it with" early false data ["" ""]`)
}

// A tlsSealer encrypts the records of one direction. TestTLSVectors checks the key that it uses.
type tlsSealer struct{ *tlsKey }

func newTLSSealer(suite *tlsSuite, secret []byte) *tlsSealer {
	k, err := newTLSKey(suite, secret)
	if err != nil {
		panic(err)
	}
	return &tlsSealer{k}
}

// seal makes a record: its content, the type of that, and zeros.
func (s *tlsSealer) seal(typ byte, content string, zeros int) []byte {
	plain := append(append([]byte(content), typ), make([]byte, zeros)...)
	nonce := bytes.Clone(s.iv[:])
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.seq)
	s.seq++
	header := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(plain)+s.aead.Overhead()))
	return s.aead.Seal(header, nonce, plain, header)
}

func (s *tlsSealer) data(content string) []byte { return s.seal(recordData, content, 0) }

// A madeTLS is a conversation that a test makes up.
type madeTLS struct {
	keys      string
	hellos    []tlsWord
	handshake [2]*tlsSealer
	traffic   [2]*tlsSealer
}

// clearRecord makes a record in clear.
func clearRecord(typ byte, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ, 3, 3}, uint16(len(content))), content...)
}

// prefixed puts the length of content in front of it, in size bytes.
func prefixed(size int, content ...byte) []byte {
	n := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	return append(n[4-size:], content...)
}

func clientHelloOf(random []byte, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, random, prefixed(1), prefixed(2, 0x13, 1), prefixed(1, 0), prefixed(2, extensions...))
	return append([]byte{1}, prefixed(3, body...)...)
}

func serverHelloOf(suite uint16, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), prefixed(1), []byte{byte(suite >> 8), byte(suite), 0}, prefixed(2, extensions...))
	return append([]byte{2}, prefixed(3, body...)...)
}

var isTLS13 = []byte{0, 43, 0, 2, 3, 4}

func makeTLS(extensions ...byte) *madeTLS {
	suite := &tlsSuites[0]
	m := &madeTLS{}
	random := bytes.Repeat([]byte{7}, 32)
	for i, label := range secretLabels {
		secret := bytes.Repeat([]byte{byte(i + 1)}, 32)
		m.keys += fmt.Sprintf("%s %x %x\n", label, random, secret)
		if s := newTLSSealer(suite, secret); i < 2 {
			m.handshake[i] = s
		} else {
			m.traffic[i-2] = s
		}
	}
	m.hellos = []tlsWord{
		{0, clearRecord(recordHandshake, clientHelloOf(random, extensions...))},
		{1, clearRecord(recordHandshake, serverHelloOf(suite.id, isTLS13...))},
	}
	return m
}

// greeted is a listener behind the handshake.
func (m *madeTLS) greeted(t *testing.T) *tlsListener {
	l := newTLSListener(keyLogOf(t, m.keys)).hear(m.hellos, 1<<16)
	for from, s := range m.handshake {
		l.add(from, time.Time{}, s.seal(recordHandshake, "Finished", 0))
	}
	return l
}

// TestTLSContents are what records may hold.
func TestTLSContents(t *testing.T) {
	t.Parallel()
	const most = 1 << 14
	m := makeTLS()
	l := m.greeted(t)
	s := m.traffic[0]
	for _, record := range [][]byte{
		s.seal(recordData, "padded", 100), s.seal(recordData, "with a zero\x00", 3), s.seal(recordData, "", 0), s.seal(recordData, "", 9),
		s.seal(0, "", 0), s.seal(recordAlert, "\x01\x00", 0), s.seal(recordAlert, "\x02", 0), s.seal(recordHandshake, "ticket", 0),
		clearRecord(20, []byte{1}), s.seal(recordData, strings.Repeat("m", most), 255-16),
	} {
		l.add(0, time.Time{}, record)
	}
	l.check(t, fmt.Sprintf(`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "" early false data [%q ""]`,
		"paddedwith a zero\x00"+strings.Repeat("m", most)))
	if len(l.log) != 3 {
		t.Errorf("data came %d times", len(l.log))
	}
	l.add(0, time.Time{}, s.seal(recordAlert, "\x02\x28", 0))
	l.add(1, time.Time{}, m.traffic[1].seal(recordAlert, "\x02\x2a", 0))
	if l.alert != "handshake failure (from the client)" {
		t.Errorf("alert %q", l.alert)
	}
	l.add(1, time.Time{}, m.handshake[0].data("by another key"))
	l.add(1, time.Time{}, m.traffic[1].data("not heard"))
	l.add(0, time.Time{}, s.data("more"))
	if l.problem != "the secrets of the key log do not open what the server sends" || l.data[1] != "" || !strings.HasSuffix(l.data[0], "more") {
		t.Error(l.problem, l.data[1])
	}
}

// TestTLSAllocations has a whole record cost none.
func TestTLSAllocations(t *testing.T) {
	const runs = 100
	m := makeTLS()
	l := m.greeted(t)
	total := 0
	l.onData = func(_ int, _ time.Time, data []byte) { total += len(data) }
	var records [][]byte
	for range runs + 2 {
		records = append(records, m.traffic[0].data("0123456789"))
	}
	next := func() {
		l.add(0, time.Time{}, records[0])
		records = records[1:]
	}
	next()
	if n := testing.AllocsPerRun(runs, next); n > 0 || total != 10*(runs+2) {
		t.Errorf("%v allocations a record, %d total", n, total)
	}
}

// TestTLSGaps loses bytes, and goes on with the next record that opens.
func TestTLSGaps(t *testing.T) {
	t.Parallel()
	const lost = `problem "bytes are missing, and what the client sends behind them does not open" `
	long := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name    string
		records func(m *madeTLS) [][]byte
		cut     int // the bytes that are heard before the gap, then how long it is
		missing int
		want    string
	}{
		{"a whole record", func(m *madeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].data("two"), m.traffic[0].data("three")}
		}, 25, 25, "onethree"},
		{"in the middle of a record", func(m *madeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].data(long), m.traffic[0].data("three")}
		}, 100, 500, "onethree"},
		{"the end of one, the beginning of another", func(m *madeTLS) [][]byte {
			return [][]byte{m.traffic[0].data(long), m.traffic[0].data(long), m.traffic[0].data("three"), m.traffic[0].data("four")}
		}, 1000, 400, "threefour"},
		{"in a header", func(m *madeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].data("two"), m.traffic[0].data("three")}
		}, 26, 3, "onethree"},
		{"the last byte of a record", func(m *madeTLS) [][]byte {
			return [][]byte{m.traffic[0].data("one"), m.traffic[0].seal(recordData, "", 0), m.traffic[0].data("three")}
		}, 46, 1, "onethree"},
		{"nothing", func(m *madeTLS) [][]byte { return [][]byte{m.traffic[0].data("one"), m.traffic[0].data("two")} }, 25, 0, "onetwo"},
		{"as many records as there can be", func(m *madeTLS) (all [][]byte) {
			for range 500 {
				all = append(all, m.traffic[0].seal(recordData, "", 0))
			}
			return append(all, m.traffic[0].data("end"))
		}, 0, 500 * minRecord, "end"},
		{"with the request for new keys", func(m *madeTLS) [][]byte {
			s := m.traffic[0]
			next := newTLSSealer(&tlsSuites[0], tlsSuites[0].expand(s.secret, "traffic upd", 32))
			next.seq++ // of a record that is lost too
			return [][]byte{s.data("one"), s.seal(recordHandshake, "KeyUpdate", 0), next.data("three"), next.data("four")}
		}, 25, 31, "onethreefour"},
		{"nothing behind it is of this connection", func(m *madeTLS) (all [][]byte) {
			for range maxGapAttempts / 2 {
				all = append(all, []byte{recordData, 3, 3, 0, minRecord - recordHeader})
			}
			return append(all, make([]byte, 100))
		}, 0, 5, lost},
		{"a record that is older", func(m *madeTLS) [][]byte {
			old := m.traffic[0].data("one")
			return [][]byte{old, m.traffic[0].data("two"), old, m.traffic[0].data("three")}
		}, 25, 25, "onethree"},
	} {
		m := makeTLS()
		l := m.greeted(t)
		all := bytes.Join(tt.records(m), nil)
		l.add(0, time.Time{}, all[:tt.cut])
		l.gap(0, tt.missing)
		l.hear([]tlsWord{{0, all[tt.cut+tt.missing:]}}, 999)
		want := fmt.Sprintf(`problem "" early false data [%q "heard"]`, tt.want)
		if tt.want == lost {
			want = lost + `early false data ["" "heard"]`
		}
		l.add(1, time.Time{}, m.traffic[1].data("heard")) // the other side goes on
		if got := l.facts(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s\nwant %s", tt.name, got, want)
		}
		if l.directions[0].lost != 0 || l.directions[0].attempts != 0 {
			t.Errorf("%s: %+v", tt.name, l.directions[0])
		}
	}
}

// TestTLSTooFarAhead has records that are further on than what is missing can be.
func TestTLSTooFarAhead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		missing, ahead int
		opens          bool
	}{{0, 0, true}, {0, 1, false}, {25, 1, true}, {25, 2, false}, {200_000, maxGapRecords - 1, true}, {200_000, maxGapRecords, false}} {
		m := makeTLS()
		l := m.greeted(t)
		l.add(0, time.Time{}, m.traffic[0].data("1"))
		m.traffic[0].seq += uint64(tt.ahead)
		l.gap(0, tt.missing)
		l.add(0, time.Time{}, m.traffic[0].data("2"))
		if opens := l.data[0] == "12"; opens != tt.opens {
			t.Errorf("%+v: %s", tt, l.facts())
		}
	}
}

// TestTLSGapInHandshake loses bytes of the certificate, which do no harm, and of the hellos, without
// which there is nothing to be read.
func TestTLSGapInHandshake(t *testing.T) {
	t.Parallel()
	words := parseWords(t, traceOfOpenSSL)
	hear := func(keys string, side, from, missing int) *tlsListener {
		l := newTLSListener(keyLogOf(t, keys))
		for _, w := range words {
			if w.from == side && missing > 0 {
				l.add(w.from, time.Time{}, w.data[:from])
				l.gap(w.from, missing)
				w.data, missing = w.data[from+missing:], 0
			}
			l.add(w.from, time.Time{}, w.data)
		}
		return l
	}
	const data = `data ["1\n3\n5\n" "2\n4\n"]`
	for i, tt := range []struct {
		keys                string
		side, from, missing int
		want                string
	}{
		{keysOfOpenSSL, 1, 140, 300, `problem "" early false ` + data},
		{keysOfOpenSSL, 1, 133, 444, `problem "" early false ` + data},
		{keysOfOpenSSL, 0, 10, 30, `problem "bytes of its handshake are missing" early false data ["" ""]`},
		{keysOfOpenSSL, 1, 10, 30, `problem "bytes of its handshake are missing" early false data ["" ""]`},
		{"", 1, 140, 300, `problem "the key log has no secret for its client random 09b861b776ceac5c..." early false data ["" ""]`},
		{"", 1, 300, 100, `problem "the key log has no secret for its client random 09b861b776ceac5c..." early false data ["" ""]`},
	} {
		if got := hear(tt.keys, tt.side, tt.from, tt.missing).facts(); !strings.HasSuffix(got, tt.want) {
			t.Errorf("row %d: got %s", i, got)
		}
	}
	// Without a key log, what is behind a gap is of no use.
	l := newTLSListener(nil)
	l.add(0, time.Time{}, words[0].data)
	l.gap(0, 10)
	l.add(0, time.Time{}, clearRecord(recordAlert, []byte{2, 40}))
	if l.problem != "there is no key log to read it with" || l.serverName != "x" || l.alert != "" {
		t.Error(l.facts())
	}
}

// TestTLSEarlyData passes over what the client sends before its handshake, whether or not the
// server takes it, and no more of that than there may be.
func TestTLSEarlyData(t *testing.T) {
	t.Parallel()
	for _, offered := range []bool{true, false} {
		for _, before := range []bool{true, false} {
			for records := range 7 {
				m := makeTLS()
				if offered {
					m = makeTLS(0, 42, 0, 0)
				}
				early := newTLSSealer(&tlsSuites[0], make([]byte, 32))
				l := newTLSListener(keyLogOf(t, m.keys)).hear(m.hellos[:1], 100)
				if !before {
					l.hear(m.hellos[1:], 100)
				}
				for range records {
					l.add(0, time.Time{}, early.data(strings.Repeat("e", 12_000)))
				}
				if before {
					l.hear(m.hellos[1:], 100)
				}
				l.add(0, time.Time{}, m.handshake[0].seal(recordHandshake, "Finished", 0))
				l.add(0, time.Time{}, m.traffic[0].data("hello"))
				want := fmt.Sprintf(`problem "" early %v data ["hello" ""]`, offered)
				if !offered && records > 0 || records > 5 {
					want = fmt.Sprintf(`problem "the secrets of the key log do not open what the client sends" early %v data ["" ""]`, offered)
				}
				if before && records > 5 {
					want = fmt.Sprintf(`problem "the server's hello is not in the capture" early %v data ["" ""]`, offered)
				}
				if got := l.facts(); !strings.HasSuffix(got, want) {
					t.Errorf("offered %v, before the ServerHello %v, %d records: %s, want %s", offered, before, records, got, want)
				}
			}
		}
	}
	// Behind the handshake there is none, and none of the server.
	other := newTLSSealer(&tlsSuites[0], make([]byte, 32))
	m := makeTLS(0, 42, 0, 0)
	l := m.greeted(t)
	l.add(0, time.Time{}, other.data("early"))
	if l.problem != "the secrets of the key log do not open what the client sends" {
		t.Error(l.facts())
	}
	l = newTLSListener(keyLogOf(t, m.keys)).hear(m.hellos, 100)
	l.add(1, time.Time{}, other.data("early"))
	if l.problem != "the secrets of the key log do not open what the server sends" {
		t.Error(l.facts())
	}
	// It keeps its place while it waits for a secret that shows what it is.
	m = makeTLS(0, 42, 0, 0)
	k := keyLogOf(t, strings.ReplaceAll(m.keys, "CLIENT_TRAFFIC_SECRET_0", "LATER"))
	l = newTLSListener(k).hear(m.hellos, 100)
	l.add(0, time.Time{}, other.data("early"))
	l.add(0, time.Time{}, m.handshake[0].seal(recordHandshake, "Finished", 0))
	l.add(0, time.Time{}, m.traffic[0].data("hello"))
	for line := range strings.Lines(m.keys) {
		k.parse(line)
	}
	l.add(0, time.Time{}, nil)
	if l.problem != "" || l.data[0] != "hello" {
		t.Error(l.facts())
	}
}

// TestTLSHellos has hellos of all kinds, and what is none.
func TestTLSHellos(t *testing.T) {
	t.Parallel()
	const none = ` early false data ["" ""]`
	random := make([]byte, 32)
	hello := func(extensions ...byte) tlsWord {
		return tlsWord{0, clearRecord(recordHandshake, clientHelloOf(random, extensions...))}
	}
	answer := func(suite uint16, extensions ...byte) tlsWord {
		return tlsWord{1, clearRecord(recordHandshake, serverHelloOf(suite, extensions...))}
	}
	name := func(typ byte, name string) []byte {
		list := prefixed(2, append([]byte{typ}, prefixed(2, []byte(name)...)...)...)
		return append([]byte{0, 0}, prefixed(2, list...)...)
	}
	const noHello = `name "" cipher "" alert "" problem "the hello of its client cannot be read"` + none
	const noAnswer = `name "" cipher "" alert "" problem "the hello of its server cannot be read"` + none
	short := clientHelloOf(random)
	short[3]-- // one byte less than the extensions need
	for _, tt := range []struct {
		name  string
		words []tlsWord
		want  string
	}{
		{"a name that is no name", []tlsWord{hello(name(0, "\x1b[2J"+strings.Repeat("n", 300))...)},
			`name "\\x1b[2J` + strings.Repeat("n", 251) + `" cipher "" alert "" problem ""` + none},
		{"another kind of name", []tlsWord{hello(name(1, "other")...)}, `name "" cipher "" alert "" problem ""` + none},
		{"no extensions", []tlsWord{{0, clearRecord(recordHandshake, append([]byte{1}, prefixed(3, clientHelloOf(random)[4:45]...)...))}},
			`name "" cipher "" alert "" problem ""` + none},
		{"ChaCha20", []tlsWord{hello(), answer(tls.TLS_CHACHA20_POLY1305_SHA256, isTLS13...), {1, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "TLS_CHACHA20_POLY1305_SHA256" alert "" problem "its cipher is TLS_CHACHA20_POLY1305_SHA256, which Go's standard library does not offer"` + none},
		{"AES-CCM", []tlsWord{hello(), answer(0x1304, isTLS13...)}, `name "" cipher "0x1304" alert "" problem "its cipher is 0x1304, which is not known here"` + none},
		{"TLS 1.2, and an alert that is encrypted", []tlsWord{hello(), answer(0xc02f), {0, clearRecord(recordAlert, bytes.Repeat([]byte{1}, 26))}},
			`name "" cipher "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" alert "" problem "it is TLS 1.2, which RFC 9887 section 3.2 forbids"` + none},
		{"TLS 1.2, and the beginning of a certificate", []tlsWord{hello(),
			{1, clearRecord(recordHandshake, append(serverHelloOf(0xc02f), 11, 0, 1, 0, 1))}, {1, clearRecord(recordHandshake, []byte{2, 0, 0})}},
			`name "" cipher "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" alert "" problem "it is TLS 1.2, which RFC 9887 section 3.2 forbids"` + none},
		{"a hello behind the answer", []tlsWord{hello(), answer(0x1301, isTLS13...), hello(name(0, "late")...)},
			`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem ""` + none},
		{"a version to come", []tlsWord{hello(), answer(0x1301, 0, 43, 0, 2, 3, 5)},
			`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "it is 0x0305, which RFC 9887 section 3.2 forbids"` + none},
		{"a hello that is cut", []tlsWord{{0, clearRecord(recordHandshake, []byte{1, 0, 0, 2, 3, 3})}}, noHello},
		{"extensions that are cut", []tlsWord{hello(0, 43, 0, 9, 3)}, noHello},
		{"an answer that is cut", []tlsWord{hello(), {1, clearRecord(recordHandshake, []byte{2, 0, 0, 2, 3, 3})}}, noAnswer},
		{"a version that is cut", []tlsWord{hello(), answer(0x1301, 0, 43, 0, 1, 3)}, noAnswer},
		{"a message that is too long", []tlsWord{{0, clearRecord(recordHandshake, []byte{1, 1, 0, 0})}},
			`name "" cipher "" alert "" problem "the client sends a handshake message of 65540 bytes"` + none},
		{"the server's hello from the client", []tlsWord{{0, answer(0x1301).data}}, `name "" cipher "" alert "" problem ""` + none},
		{"the client's hello from the server", []tlsWord{{1, hello(name(0, "x")...).data}}, `name "" cipher "" alert "" problem ""` + none},
		{"the middle of a conversation", []tlsWord{{1, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "" alert "" problem "its handshake is not in the capture"` + none},
		{"one side alone", []tlsWord{hello(), {0, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "" alert "" problem "the server's hello is not in the capture"` + none},
		{"the other side alone", []tlsWord{answer(0x1301, isTLS13...), {1, clearRecord(recordData, make([]byte, 40))}},
			`name "" cipher "TLS_AES_128_GCM_SHA256" alert "" problem "the client's hello is not in the capture"` + none},
		{"another protocol", []tlsWord{{0, []byte("SSH-2.0-x\r\n")}}, `name "" cipher "" alert "" problem "what the client sends is not TLS"` + none},
		{"another protocol, of the server", []tlsWord{hello(), {1, []byte{recordHandshake, 2, 0, 0, 1}}},
			`name "" cipher "" alert "" problem "what the server sends is not TLS"` + none},
		{"a type that there is not", []tlsWord{{0, []byte{24, 3, 3, 0, 1, 0}}}, `name "" cipher "" alert "" problem "what the client sends is not TLS"` + none},
		{"a type that there is not either", []tlsWord{{0, []byte{19, 3, 3, 0, 1, 0}}}, `name "" cipher "" alert "" problem "what the client sends is not TLS"` + none},
		{"a record that is too long", []tlsWord{{0, []byte{recordData, 3, 3, 0x41, 1}}}, `name "" cipher "" alert "" problem "what the client sends is not TLS"` + none},
		{"a record that is as long as one may be", []tlsWord{{0, []byte{recordData, 3, 3, 0x41, 0}}}, `name "" cipher "" alert "" problem ""` + none},
	} {
		for _, size := range []int{1, 1 << 14} {
			l := newTLSListener(keyLogOf(t, "")).hear(tt.words, size)
			if got := l.facts(); got != tt.want {
				t.Errorf("%s: got %s\nwant %s", tt.name, got, tt.want)
			}
			if l.answered && l.directions[1].hello != nil {
				t.Errorf("%s: %d bytes are kept for nothing", tt.name, len(l.directions[1].hello))
			}
		}
	}
}

// TestKeyLogGrows reads on in a file, as it is written while a conversation is heard: what was kept
// comes with its own time, and in its order.
func TestKeyLogGrows(t *testing.T) {
	t.Parallel()
	file := filepath.Join(writeFiles(t, map[string]string{"keys": "# nothing yet\n"}), "keys")
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = io.WriteString(f, text)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k, err := loadKeyLog(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := newTLSListener(k).hear(parseWords(t, traceOfOpenSSL), 99)
	if !strings.Contains(l.problem, "the key log has no secret for") || len(l.log) != 0 {
		t.Error(l.facts())
	}
	lines := slices.Collect(strings.Lines(keysOfOpenSSL))
	write("not a line of a key log\n" + lines[0][:40])
	l.add(0, time.Time{}, nil)
	write(lines[0][40:] + lines[1][:100])
	l.add(0, time.Time{}, nil)
	if l.problem == "" || len(l.log) != 0 {
		t.Error(l.facts())
	}
	write(lines[1][100:] + strings.Join(lines[2:], ""))
	l.add(1, time.Time{}, nil)
	if info, err := os.Stat(file); err != nil || info.Size() != k.size {
		t.Errorf("%d bytes were read: %v, %v", k.size, info.Size(), err)
	}
	want := []string{"client 3: 2 bytes", "server 4: 2 bytes", "client 6: 2 bytes", "server 8: 2 bytes", "client 10: 2 bytes"}
	if !slices.Equal(l.log, want) || l.problem != "" || l.held != 0 || l.waiting != nil {
		t.Error(l.log, l.facts())
	}
}

// TestKeyLogTooLate keeps so much, and no more.
func TestKeyLogTooLate(t *testing.T) {
	t.Parallel()
	m := makeTLS()
	l := newTLSListener(keyLogOf(t, "")).hear(m.hellos, 100)
	for range 100 {
		l.add(1, time.Time{}, m.traffic[1].data(strings.Repeat("x", 1000)))
		if l.held > maxWaiting || l.unreadable && (l.held > 0 || l.waiting != nil) {
			t.Fatal(l.held, len(l.waiting))
		}
	}
	if !l.unreadable || l.waiting != nil || !strings.Contains(l.problem, "no secret") {
		t.Error(l.facts())
	}
}

// TestKeyLogOfAnother has what waits meet a secret that does not open it, and a key that cannot be
// made.
func TestKeyLogOfAnother(t *testing.T) {
	t.Parallel()
	for _, keyLen := range []int{16, 7} {
		m := makeTLS()
		k := keyLogOf(t, "")
		l := newTLSListener(k).hear(m.hellos, 100)
		l.add(1, time.Time{}, newTLSSealer(&tlsSuites[0], make([]byte, 32)).data("by another key"))
		l.add(1, time.Time{}, m.handshake[1].data("not heard"))
		for line := range strings.Lines(m.keys) {
			k.parse(line)
		}
		suite := tlsSuites[0]
		suite.keyLen = keyLen
		l.suite = &suite
		l.add(0, time.Time{}, nil)
		want := "the secrets of the key log do not open what the server sends"
		if keyLen == 7 {
			want = "crypto/aes: invalid key size 7"
		}
		if l.problem != want || l.waiting != nil || l.held != 0 || l.data[1] != "" {
			t.Error(l.facts(), l.waiting)
		}
	}
}

// TestKeyLogFiles are files that are key logs, and some that are none.
func TestKeyLogFiles(t *testing.T) {
	t.Parallel()
	const random, secret = " 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f ", "ab"
	long := strings.Repeat(secret, 48)
	dir := writeFiles(t, map[string]string{
		"good":    "# a comment\r\n\r\nCLIENT_TRAFFIC_SECRET_0" + random + long + "\r\nCLIENT_RANDOM 00 11\nEXPORTER_SECRET" + random + "zz\n",
		"no end":  "SERVER_HANDSHAKE_TRAFFIC_SECRET" + random + long[:64],
		"empty":   "",
		"words":   "\nnot a key log\nnor this\n",
		"random":  "CLIENT_TRAFFIC_SECRET_0 0001 " + long,
		"longer":  "CLIENT_TRAFFIC_SECRET_0 " + strings.TrimSpace(random) + "00 " + long,
		"secret":  "CLIENT_TRAFFIC_SECRET_0" + random + long[:62],
		"no hex":  "CLIENT_TRAFFIC_SECRET_0" + random + long[:62] + "xy",
		"line":    "#\n" + strings.Repeat("x", 5000),
		"at most": "#" + strings.Repeat("x", maxKeyLogLine-2) + "\n",
	})
	for _, tt := range []struct{ name, err string }{
		{"good", ""}, {"no end", ""}, {"empty", ""}, {"at most", ""},
		{"words", "line 2 of the key log FILE is not a label, a client random and a secret"},
		{"random", "line 1 of the key log FILE has a client random that is not 64 hexadecimal digits"},
		{"longer", "line 1 of the key log FILE has a client random that is not 64 hexadecimal digits"},
		{"secret", "line 1 of the key log FILE has a secret that is not 64 or 96 hexadecimal digits"},
		{"no hex", "line 1 of the key log FILE has a secret that is not 64 or 96 hexadecimal digits"},
		{"line", "line 2 of the key log FILE is over 4096 bytes"},
		{"missing", "read the key log: open FILE: " + os.ErrNotExist.Error()},
		{"", "read the key log: read FILE: is a directory"},
	} {
		file := filepath.Join(dir, tt.name)
		k, err := loadKeyLog(file, nil)
		if want := strings.ReplaceAll(tt.err, "FILE", file); want == "" && err != nil || want != "" && (err == nil || classOf(err) != classUsage) {
			t.Errorf("%s: %v", tt.name, err)
		} else if want != "" && err.Error() != want && tt.name != "missing" && tt.name != "" {
			t.Errorf("%s: %v, want %s", tt.name, err, want)
		}
		var r clientRandom
		copy(r[:], unhex(t, random))
		if tt.name == "good" && hex.EncodeToString(k.secret(r, clientTrafficSecret)) != long {
			t.Error("the secret is another one")
		}
		if tt.name == "no end" && hex.EncodeToString(k.secret(r, clientHandshakeSecret+1)) != long[:64] {
			t.Error("the last line is lost")
		}
	}
	if _, err := loadKeyLog("-", strings.NewReader("x\n")); err == nil || !strings.HasPrefix(err.Error(), "line 1 of the key log standard input is not") {
		t.Error(err)
	}
	if _, err := loadKeyLog("-", &endless{}); err == nil || err.Error() != "the key log standard input is over 67108864 bytes" {
		t.Error(err)
	}
}

// FuzzTLSConversation is everything that a capture may hold. It ends, and keeps no more than it may.
func FuzzTLSConversation(f *testing.F) {
	script := func(words []tlsWord) (all []byte) {
		for _, w := range words {
			all = append(all, byte(w.from))
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(w.data))), w.data...)
		}
		return all
	}
	m := makeTLS(0, 42, 0, 0)
	made := append(m.hellos, tlsWord{0, m.handshake[0].seal(22, "Finished", 0)}, tlsWord{0, m.traffic[0].data("1")})
	keys := keyLogOf(f, keysOfRFC+keysOfOpenSSL+m.keys)
	for _, words := range [][]tlsWord{parseWords(f, traceOfRFC), parseWords(f, traceOfOpenSSL), made} {
		f.Add(script(words))
		for i := range words {
			gap := append(script(words[:i]), byte(2+words[i].from), 0, 9)
			f.Add(append(gap, script(words[i+1:])...))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		all, said := len(in), 0
		l := newTLSConversation(keys, func(_ int, _ time.Time, data []byte) { said += len(data) })
		for len(in) >= 3 {
			from, n := int(in[0]&1), int(binary.BigEndian.Uint16(in[1:]))
			gap := in[0]&2 != 0
			if in = in[3:]; gap {
				l.gap(from, n)
				continue
			}
			n = min(n, len(in))
			l.add(from, time.Time{}, in[:n])
			in = in[n:]
			for _, s := range l.directions {
				if len(s.held) > maxRecord || len(s.hello) > maxWaiting+maxRecord || s.attempts > maxGapAttempts || s.early > maxWaiting {
					t.Fatalf("%d and %d bytes are held, %d trials", len(s.held), len(s.hello), s.attempts)
				}
			}
			if l.held > maxWaiting || l.unreadable && l.held > 0 {
				t.Fatalf("%d bytes wait", l.held)
			}
		}
		if said > all {
			t.Fatalf("%d bytes were said, %d heard", said, all)
		}
	})
}
