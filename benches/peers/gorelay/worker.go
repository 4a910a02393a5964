package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// publicBurst is how many packets of clients are taken before the transceivers have their turn.
const publicBurst = 64

// flow is one client address and the socket that stands for it towards its transceiver.
type flow struct {
	client   address
	upstream int
	seen     int64
}

type worker struct {
	epoll  int
	public int
	routes []netip.AddrPort
	flows  map[uint64]*flow
	// By the file descriptor of the flow's own socket.
	byUpstream []*flow
	idle       time.Duration
	now        int64
	buffer     [packetBytesMax]byte
	// Batches; nil without.
	in, out *messages
}

func newWorker(public netip.AddrPort, routes []netip.AddrPort, batch, buffer int, idle time.Duration) (*worker, error) {
	fd, err := openPublic(public, buffer)
	if err != nil {
		return nil, err
	}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	w := &worker{epoll: epoll, public: fd, routes: routes, flows: make(map[uint64]*flow), idle: idle}
	if batch > 0 {
		w.in, w.out = newMessages(batch), newMessages(batch)
	}
	return w, w.watch(fd)
}

func (w *worker) watch(fd int) error {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	if err := syscall.EpollCtl(w.epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (w *worker) run() error {
	runtime.LockOSThread()
	events := make([]syscall.EpollEvent, 256)
	swept := time.Now()
	for {
		n, err := syscall.EpollWait(w.epoll, events, 1000)
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		now := time.Now()
		w.now = now.UnixNano()
		for i := 0; i < n; i++ {
			if fd := int(events[i].Fd); fd != w.public {
				w.fromUpstream(fd)
			} else if w.in != nil {
				w.fromClientsInBatches()
			} else {
				w.fromClients()
			}
		}
		if w.out != nil {
			w.out.send(w.public)
		}
		if now.Sub(swept) > time.Second {
			swept = now
			w.sweep()
		}
	}
}

func (w *worker) fromClients() {
	var from address
	for range publicBurst {
		n, ok := receiveFrom(w.public, w.buffer[:], &from)
		if !ok {
			return
		}
		w.fromClient(&from, w.buffer[:n])
	}
}

func (w *worker) fromClientsInBatches() {
	for taken := 0; taken < publicBurst; {
		n := w.in.receive(w.public)
		for i := 0; i < n; i++ {
			w.fromClient(&w.in.addresses[i], w.in.packet(i))
		}
		taken += n
		if n < len(w.in.headers) {
			return
		}
	}
}

func (w *worker) fromClient(from *address, packet []byte) {
	f := w.flows[from.key()]
	if f == nil {
		if f = w.newFlow(from, packet); f == nil {
			return
		}
	}
	f.seen = w.now
	if len(packet) > 0 {
		send(f.upstream, &packet[0], len(packet))
	}
}

// newFlow makes a flow if the packet says where to.
func (w *worker) newFlow(from *address, packet []byte) *flow {
	route, ok := routeOf(packet, len(w.routes))
	if !ok {
		return nil
	}
	fd, err := openSocket()
	if err != nil {
		return nil
	}
	if syscall.Connect(fd, addressOf(w.routes[route])) != nil || w.watch(fd) != nil {
		syscall.Close(fd)
		return nil
	}
	for len(w.byUpstream) <= fd {
		w.byUpstream = append(w.byUpstream, nil)
	}
	f := &flow{client: *from, upstream: fd}
	w.flows[from.key()], w.byUpstream[fd] = f, f
	return f
}

// fromUpstream takes one packet: a flow has one at a time, and epoll tells again of a second.
func (w *worker) fromUpstream(fd int) {
	f := w.byUpstream[fd]
	if f == nil {
		return
	}
	if w.out == nil {
		if n, ok := receive(fd, w.buffer[:]); ok {
			f.seen = w.now
			sendTo(w.public, &w.buffer[0], n, &f.client)
		}
		return
	}
	slot := w.out.used
	n, ok := receive(fd, w.out.buffers[slot*packetBytesMax:(slot+1)*packetBytesMax])
	if !ok {
		return
	}
	f.seen = w.now
	w.out.vectors[slot].Len = uint64(n)
	w.out.headers[slot].header.Name = (*byte)(unsafe.Pointer(&f.client))
	w.out.headers[slot].header.Namelen = addressBytes
	if w.out.used++; w.out.used == len(w.out.headers) {
		w.out.send(w.public)
	}
}

func (w *worker) sweep() {
	for key, f := range w.flows {
		if w.now-f.seen > int64(w.idle) {
			delete(w.flows, key)
			w.byUpstream[f.upstream] = nil
			syscall.Close(f.upstream)
		}
	}
}
