package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nwaples/tacplus"
)

// This file is the peer, a plain use of github.com/nwaples/tacplus. It has no timeouts, no log and no
// deadlines, which would slow it down.

// peerClient logs in by PAP from 16 goroutines over one connection for the given time.
func peerClient(addr string, length time.Duration) error {
	ctx := context.Background()
	c := &tacplus.Client{Addr: addr, ConnConfig: tacplus.ConnConfig{Mux: true, Secret: []byte(key)}}
	login := func() error {
		reply, _, err := c.SendAuthenStart(ctx, &tacplus.AuthenStart{
			Action: tacplus.AuthenActionLogin, PrivLvl: 1, AuthenType: tacplus.AuthenTypePAP, AuthenService: tacplus.AuthenServiceLogin,
			User: user, Port: "tty0", RemAddr: "127.0.0.1", Data: []byte(password)})
		if err == nil && reply.Status != tacplus.AuthenStatusPass {
			err = fmt.Errorf("status %d in place of PASS", reply.Status)
		}
		return err
	}
	// The first reply allows sharing the connection. A request before it opens another one.
	if err := login(); err != nil {
		return err
	}
	began := time.Now()
	var stop atomic.Bool
	time.AfterFunc(length, func() { stop.Store(true) })
	var workers sync.WaitGroup
	var logins atomic.Int64
	for range peerInFlight {
		workers.Go(func() {
			n := 0
			for ; !stop.Load(); n++ {
				if err := login(); err != nil {
					log.Fatal(err)
				}
			}
			logins.Add(int64(n))
		})
	}
	workers.Wait()
	fmt.Println(logins.Load(), time.Since(began).Seconds())
	return nil
}

// peerServer serves PAP logins until stdin ends. It prints its address first, and at the end the numbers
// of connections and logins.
func peerServer() error {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l := &countingListener{Listener: tcp}
	fmt.Println(l.Addr())
	h := new(handler)
	conns := &tacplus.ServerConnHandler{Handler: h, ConnConfig: tacplus.ConnConfig{Mux: true, Secret: []byte(key)}}
	server := &tacplus.Server{ServeConn: conns.Serve}
	go server.Serve(l)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	fmt.Println(l.accepted.Load(), h.logins.Load())
	return nil
}

type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

type handler struct{ logins atomic.Int64 }

func (h *handler) HandleAuthenStart(_ context.Context, a *tacplus.AuthenStart, _ *tacplus.ServerSession) *tacplus.AuthenReply {
	if a.AuthenType != tacplus.AuthenTypePAP || a.User != user || !bytes.Equal(a.Data, []byte(password)) {
		return &tacplus.AuthenReply{Status: tacplus.AuthenStatusFail}
	}
	h.logins.Add(1)
	return &tacplus.AuthenReply{Status: tacplus.AuthenStatusPass}
}

func (h *handler) HandleAuthorRequest(context.Context, *tacplus.AuthorRequest, *tacplus.ServerSession) *tacplus.AuthorResponse {
	return nil
}

func (h *handler) HandleAcctRequest(context.Context, *tacplus.AcctRequest, *tacplus.ServerSession) *tacplus.AcctReply {
	return nil
}
