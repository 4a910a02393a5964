//! The engine under test and its peers, alike for sockets and for the simulated network.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use engine::sim::{Network, NetworkSettings};
use engine::sockets::{self, SocketSettings};
use engine::{
    Engine, Link, LinkSettings, LinkSocket, Mmsg, Settings, TaskRun, Uring, UringSettings, Wait,
};

/// How long anything may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Mmsg,
    Uring(Option<TaskRun>),
    Sim,
}

pub(crate) struct Harness {
    pub(crate) subject: Subject,
    network: Network,
    next_port: Cell<u16>,
}

impl Harness {
    /// `None`, with the reason printed, if this host does not allow this engine.
    pub(crate) fn new(subject: Subject) -> Option<Harness> {
        if let Subject::Uring(task_run) = subject {
            let uring = uring_settings(task_run, UringSettings::default());
            if let Err(error) = Uring::new(Vec::new(), &Settings { uring, ..Settings::default() }) {
                eprintln!("skipped: {error}; {}", engine::probe());
                return None;
            }
        }
        let settings = NetworkSettings { datagram_bytes_max: 10_000, ..Default::default() };
        Some(Harness { subject, network: Network::new(settings), next_port: Cell::new(1000) })
    }

    /// Says why a test does not apply to this engine.
    pub(crate) fn is_sim(&self, why: &str) -> bool {
        if self.subject == Subject::Sim {
            eprintln!("skipped: {why}");
        }
        self.subject == Subject::Sim
    }

    /// An engine with one link on 127.0.0.1 and the default settings.
    pub(crate) fn engine(&self) -> Rig {
        self.engine_with(&[("127.0.0.1", LinkSettings::default())], Settings::default())
    }

    /// An engine with a link per address.
    pub(crate) fn engine_with(&self, links: &[(&str, LinkSettings)], settings: Settings) -> Rig {
        if self.subject == Subject::Sim {
            let links: Vec<_> =
                links.iter().map(|(ip, link)| (self.simulated_address(ip), *link)).collect();
            let engine = Box::new(self.network.engine(&links, &settings).unwrap());
            return Rig { engine, addresses: links.iter().map(|(address, _)| *address).collect() };
        }
        let sockets = links
            .iter()
            .map(|(ip, settings)| {
                let address = SocketAddr::new(ip.parse().unwrap(), 0);
                let bound = sockets::bind(&SocketSettings::tunnel(address)).unwrap();
                (bound.socket, *settings)
            })
            .collect();
        self.engine_on(sockets, settings)
    }

    /// An engine on sockets made by the test; not for the simulation.
    pub(crate) fn engine_on(
        &self,
        sockets: Vec<(OwnedFd, LinkSettings)>,
        settings: Settings,
    ) -> Rig {
        let addresses =
            sockets.iter().map(|(socket, _)| sockets::local_address(socket).unwrap()).collect();
        let links =
            sockets.into_iter().map(|(socket, settings)| LinkSocket { socket, settings }).collect();
        let engine: Box<dyn Engine> = match self.subject {
            Subject::Mmsg => Box::new(Mmsg::new(links, &settings).unwrap()),
            Subject::Uring(task_run) => {
                let uring = uring_settings(task_run, settings.uring);
                Box::new(Uring::new(links, &Settings { uring, ..settings }).unwrap())
            }
            Subject::Sim => panic!("the simulation has no sockets"),
        };
        Rig { engine, addresses }
    }

    /// Somebody to talk to.
    pub(crate) fn peer(&self, ip: &str) -> Peer {
        if self.subject == Subject::Sim {
            let address = self.simulated_address(ip);
            let link = LinkSettings { datagram_bytes_max: 10_000, ..LinkSettings::default() };
            let engine = self.network.engine(&[(address, link)], &Settings::default()).unwrap();
            return Peer::Simulated(Box::new(engine), address);
        }
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer::Socket(socket)
    }

    fn simulated_address(&self, ip: &str) -> SocketAddr {
        let port = self.next_port.get();
        self.next_port.set(port + 1);
        SocketAddr::new(ip.parse().unwrap(), port)
    }
}

/// On the lower rungs of the ladder, also without the kernel's own coalescing: that is how older
/// kernels are.
fn uring_settings(task_run: Option<TaskRun>, settings: UringSettings) -> UringSettings {
    UringSettings { task_run, coalesce_in_kernel: task_run.is_none(), ..settings }
}

pub(crate) enum Peer {
    Socket(UdpSocket),
    Simulated(Box<engine::sim::Sim>, SocketAddr),
}

impl Peer {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Peer::Socket(socket) => socket.local_addr().unwrap(),
            Peer::Simulated(_, address) => *address,
        }
    }

    pub(crate) fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        match self {
            Peer::Socket(socket) => assert_eq!(socket.send_to(bytes, to).unwrap(), bytes.len()),
            Peer::Simulated(engine, _) => {
                engine.halves().1.push(Link(0), to, bytes).unwrap();
                engine.flush().unwrap();
            }
        }
    }

    /// The next datagram; panics if none comes.
    pub(crate) fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        match self {
            Peer::Socket(socket) => {
                let mut bytes = vec![0; 70_000];
                let (length, source) = loop {
                    match socket.recv_from(&mut bytes) {
                        // io_uring interrupts the thread to run completions, on one of its ways.
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        other => break other.expect("nothing came"),
                    }
                };
                bytes.truncate(length);
                (source, bytes)
            }
            Peer::Simulated(engine, _) => {
                if engine.halves().0.is_empty() {
                    engine.wait(Wait { timeout: PATIENCE, ..Wait::default() }).unwrap();
                }
                let arrival = engine.halves().0.pop().expect("nothing came");
                (arrival.source, arrival.bytes.to_vec())
            }
        }
    }
}

/// One received datagram, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) link: Link,
    pub(crate) source: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) received_at_ns: Option<u64>,
}

/// An engine and the addresses of its links.
pub(crate) struct Rig {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Rig {
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Waits until `count` datagrams came, and checks the ledger.
    pub(crate) fn collect(&mut self, count: usize) -> Vec<Got> {
        let start = Instant::now();
        let mut all = Vec::new();
        while all.len() < count {
            let wait = Wait { timeout: Duration::from_millis(100), ..Wait::default() };
            self.engine.wait(wait).unwrap();
            all.extend(self.read());
            assert!(
                start.elapsed() < PATIENCE,
                "{} of {count} datagrams came; {:?}",
                all.len(),
                self.engine.statistics()
            );
        }
        assert_eq!(all.len(), count, "more came than were sent");
        all
    }

    /// Everything that has arrived.
    pub(crate) fn read(&mut self) -> Vec<Got> {
        let (arrivals, _) = self.engine.halves();
        let mut all = Vec::new();
        while let Some(arrival) = arrivals.pop() {
            all.push(Got {
                link: arrival.link,
                source: arrival.source,
                bytes: arrival.bytes.to_vec(),
                received_at_ns: arrival.received_at_ns,
            });
        }
        assert_eq!(arrivals.outstanding(), 0, "the ledger");
        all
    }

    /// Waits without a pause until nothing comes any more.
    pub(crate) fn look(&mut self) -> Vec<Got> {
        self.engine.wait(Wait::default()).unwrap();
        self.read()
    }

    /// Queues and sends one datagram, to the kernel's last step.
    pub(crate) fn send(&mut self, link: u8, to: SocketAddr, bytes: &[u8]) {
        self.engine.halves().1.push(Link(link), to, bytes).unwrap();
        self.settle();
    }

    /// Gets the outbox out and counted.
    pub(crate) fn settle(&mut self) {
        self.engine.flush().unwrap();
        self.engine.wait(Wait::default()).unwrap();
        assert!(self.engine.halves().1.is_empty(), "everything queued was handed over");
    }
}
