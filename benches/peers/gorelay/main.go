// Gorelay is a WebRTC edge relay in Go, in the style that has been described in public: user space,
// one SO_REUSEPORT socket and one locked thread for each worker, preallocated buffers, the route from
// the ufrag of a client's first packet, and a map of flows in each worker. It reads with raw
// system calls behind epoll, since Go's own network poller hands each packet from thread to thread.
//
// It is what Ringway is compared with, so it is written to be fast: nothing is allocated and no lock
// is taken for a packet. What it leaves out, it leaves out in its own favour: no integrity check of
// the first packet, no limits, no metrics.
//
//	gorelay -listen 10.0.0.1:3478 -upstream 10.0.1.2:3600 -batch 32
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3478", "IPv4 `address` and port that clients send to")
	upstream := flag.String("upstream", "127.0.0.1:3600",
		"comma-separated IPv4 `addresses` and ports; a ufrag's first two characters, in hexadecimal, say which")
	workers := flag.Int("workers", 1, "threads, each with its own socket")
	batch := flag.Int("batch", 0, "packets in one recvmmsg or sendmmsg call; 0: recvfrom and sendto")
	buffer := flag.Int("buffer", 4<<20, "bytes of the public socket's receive buffer")
	idle := flag.Duration("idle", time.Minute, "a flow that is silent for this long is forgotten")
	flag.Parse()
	if err := run(*listen, *upstream, *workers, *batch, *buffer, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "gorelay:", err)
		os.Exit(1)
	}
}

func run(listen, upstream string, workers, batch, buffer int, idle time.Duration) error {
	public, err := netip.ParseAddrPort(listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	var routes []netip.AddrPort
	for _, text := range strings.Split(upstream, ",") {
		route, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("-upstream: %w", err)
		}
		routes = append(routes, route)
	}
	if workers < 1 || batch < 0 || batch > batchMax {
		return fmt.Errorf("-workers must be 1 or more, -batch between 0 and %d", batchMax)
	}
	ended := make(chan error)
	for range workers {
		worker, err := newWorker(public, routes, batch, buffer, idle)
		if err != nil {
			return err
		}
		go func() { ended <- worker.run() }()
	}
	return <-ended
}
