package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"
)

const (
	soReusePort    = 15
	soRcvbufForce  = 33
	sysRecvmmsg    = 299
	sysSendmmsg    = 307
	packetBytesMax = 2048
	batchMax       = 64
)

// address is a sockaddr_in, as the kernel reads and writes it.
type address struct {
	family uint16
	port   [2]byte
	ip     [4]byte
	zero   [8]byte
}

const addressBytes = uint32(unsafe.Sizeof(address{}))

// key of a flow.
func (a *address) key() uint64 {
	return uint64(a.ip[0])<<40 | uint64(a.ip[1])<<32 | uint64(a.ip[2])<<24 | uint64(a.ip[3])<<16 |
		uint64(a.port[0])<<8 | uint64(a.port[1])
}

func addressOf(from netip.AddrPort) *syscall.SockaddrInet4 {
	return &syscall.SockaddrInet4{Port: int(from.Port()), Addr: from.Addr().As4()}
}

func openSocket() (int, error) {
	return syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
}

// openPublic opens a worker's member of the SO_REUSEPORT group.
func openPublic(at netip.AddrPort, buffer int) (int, error) {
	fd, err := openSocket()
	if err != nil {
		return 0, fmt.Errorf("open the public socket: %w", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1); err != nil {
		return 0, fmt.Errorf("SO_REUSEPORT: %w", err)
	}
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soRcvbufForce, buffer) != nil {
		// Without CAP_NET_ADMIN the system's limit holds.
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer); err != nil {
			return 0, fmt.Errorf("SO_RCVBUF: %w", err)
		}
	}
	if err := syscall.Bind(fd, addressOf(at)); err != nil {
		return 0, fmt.Errorf("bind %s: %w", at, err)
	}
	return fd, nil
}

// These never block, so the scheduler need not be told of them: RawSyscall saves that.

func receiveFrom(fd int, into []byte, from *address) (int, bool) {
	length := addressBytes
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&into[0])),
		uintptr(len(into)), 0, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&length)))
	return int(n), errno == 0 && length == addressBytes
}

func receive(fd int, into []byte) (int, bool) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&into[0])),
		uintptr(len(into)), 0, 0, 0)
	return int(n), errno == 0
}

// send to whom the socket is connected. One that fails is a packet lost, as on any network.
func send(fd int, packet *byte, length int) {
	syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(packet)), uintptr(length), 0, 0, 0)
}

func sendTo(fd int, packet *byte, length int, to *address) {
	syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(packet)), uintptr(length), 0,
		uintptr(unsafe.Pointer(to)), uintptr(addressBytes))
}

// message is a struct mmsghdr.
type message struct {
	header syscall.Msghdr
	length uint32
	_      [4]byte
}

// messages is what recvmmsg or sendmmsg work on: made once, all pointers in place.
type messages struct {
	headers   []message
	vectors   []syscall.Iovec
	addresses []address
	buffers   []byte
	used      int
}

func newMessages(count int) *messages {
	m := &messages{
		headers:   make([]message, count),
		vectors:   make([]syscall.Iovec, count),
		addresses: make([]address, count),
		buffers:   make([]byte, count*packetBytesMax),
	}
	for i := range m.headers {
		m.vectors[i].Base = &m.buffers[i*packetBytesMax]
		m.headers[i].header = syscall.Msghdr{
			Name: (*byte)(unsafe.Pointer(&m.addresses[i])), Iov: &m.vectors[i], Iovlen: 1,
		}
	}
	return m
}

func (m *messages) packet(i int) []byte {
	return m.buffers[i*packetBytesMax : i*packetBytesMax+int(m.headers[i].length)]
}

// receive fills the messages with what has come.
func (m *messages) receive(fd int) int {
	for i := range m.headers {
		m.vectors[i].Len = packetBytesMax
		m.headers[i].header.Namelen = addressBytes
	}
	n, _, errno := syscall.RawSyscall6(sysRecvmmsg, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[0])),
		uintptr(len(m.headers)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// send everything that is queued in one call.
func (m *messages) send(fd int) {
	for sent := 0; sent < m.used; {
		n, _, errno := syscall.RawSyscall6(sysSendmmsg, uintptr(fd), uintptr(unsafe.Pointer(&m.headers[sent])),
			uintptr(m.used-sent), 0, 0, 0)
		if errno != 0 {
			// The first of the rest is refused; the others may do.
			n = 1
		}
		sent += int(n)
	}
	m.used = 0
}
