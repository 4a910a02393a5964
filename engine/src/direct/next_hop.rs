//! Where a packet goes first: the kernel's routes and neighbours, made into one sorted table that
//! never changes. When anything changes, a new one is made.
//!
//! Prefixes are laid out flat, as ranges of addresses, with neighbours on a link as ranges of one
//! address in them, so a lookup is one binary search:
//!
//! ```text
//!   0.0.0.0 ────────── 192.0.2.0 ── .5 ── .6 ────── 192.0.3.0 ──────────── 224.0.0.0 ──
//!     gateway's MAC    │ nobody yet │ MAC │ nobody yet │ gateway's MAC       │ not plain
//! ```
//!
//! Only what is plain is in here: one next hop, on an Ethernet device, by no rule but the usual
//! ones. Everything else leads nowhere in this table, and goes by the kernel's socket.

use std::collections::HashMap;
use std::net::IpAddr;

use super::frame::Mac;

/// Devices that packets may leave by. Each takes a ring of each worker.
pub const DEVICES_MAX: usize = 4;
/// Routes that are looked at. A host with more is a router, and has reasons of its own.
pub(crate) const ROUTES_MAX: usize = 16_384;
/// Neighbours that are looked at.
pub(crate) const NEIGHBOURS_MAX: usize = 16_384;

/// What the kernel told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<Route>,
    pub(crate) neighbours: Vec<Neighbour>,
    /// Whether the family's routing rules are the usual ones: IPv4's, IPv6's.
    pub(crate) usual_rules: [bool; 2],
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Mac,
    /// It is up, and what is sent there is an Ethernet frame.
    pub(crate) ethernet: bool,
}

/// Which of the kernel's tables a route is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Asked first: this host's own addresses.
    Local,
    Main,
    /// Asked last.
    Default,
    /// Asked by no usual rule.
    Other,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) table: Table,
    pub(crate) destination: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) metric: u32,
    pub(crate) leads: Leads,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To a neighbour.
    ToGateway { link: u32, gateway: IpAddr },
    /// Every destination is a neighbour.
    ToLink { link: u32 },
    /// Not to one next hop on one device.
    Elsewhere,
}

/// A neighbour that can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) link: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: Mac,
}

/// A device that packets leave by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's number.
    pub index: u32,
    /// Its name, for people.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
}

/// A neighbour that packets are handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Which of [`NextHops::devices`] it is behind.
    pub device: usize,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

/// Why there is no next hop in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHop {
    /// No route, or one that is not plain.
    Route,
    /// A plain route, and nobody knows the hardware address there.
    Neighbour,
}

/// All next hops of a host at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextHops {
    devices: Vec<Device>,
    hops: Vec<Hop>,
    v4: Ranges<Way>,
    v6: Ranges<Way>,
    remarks: Vec<String>,
}

type Way = Result<usize, NoHop>;

impl NextHops {
    pub(crate) fn of(facts: &Facts) -> Self {
        let mut made = Self::default();
        let mut hops = Hops::new(facts, &mut made);
        made.v4 = hops.family(facts, Family::V4, &mut made.remarks);
        made.v6 = hops.family(facts, Family::V6, &mut made.remarks);
        made.hops = hops.hops;
        made
    }

    /// The next hop to a destination, as an index into [`NextHops::hops`].
    #[inline]
    pub fn lookup(&self, to: IpAddr) -> Result<usize, NoHop> {
        let ranges = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        ranges.at(number(to)).copied().unwrap_or(Err(NoHop::Route))
    }

    /// All neighbours that something may be handed to.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// What makes each of them the same in another table.
    pub(crate) fn identities(&self) -> impl Iterator<Item = (u32, IpAddr, Mac)> {
        self.hops.iter().map(|hop| (self.devices[hop.device].index, hop.address, hop.mac))
    }

    /// The devices that they are behind.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// What keeps much of the traffic away from this table, in sentences.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    const fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == matches!(self, Family::V4)
    }

    /// Destinations that are no single host elsewhere, whatever the routes say. Link-local ones of
    /// IPv6 need to be told on which link.
    fn special(self) -> &'static [(&'static str, u8)] {
        match self {
            Family::V4 => &[("0.0.0.0", 8), ("127.0.0.0", 8), ("224.0.0.0", 4), ("240.0.0.0", 4)],
            Family::V6 => &[("::", 96), ("::ffff:0:0", 96), ("fe80::", 10), ("ff00::", 8)],
        }
    }
}

/// Finds the number of each neighbour.
struct Hops {
    /// The place of each usable device in [`NextHops::devices`].
    devices: HashMap<u32, usize>,
    numbers: HashMap<(u32, IpAddr), usize>,
    hops: Vec<Hop>,
}

impl Hops {
    fn new(facts: &Facts, made: &mut NextHops) -> Self {
        // Those with a default route first: there the internet is.
        let rank = |link: &Link| {
            let leads = |route: &&Route| {
                route.table == Table::Main
                    && matches!(route.leads, Leads::ToGateway { link: to, .. } | Leads::ToLink { link: to } if to == link.index)
            };
            let routes = facts.routes.iter().filter(leads);
            routes.map(|route| route.prefix).min()
        };
        let mut usable: Vec<_> = facts
            .links
            .iter()
            .filter(|link| link.ethernet)
            .filter_map(|link| Some((rank(link)?, link)))
            .collect();
        usable.sort_by_key(|(prefix, link)| (*prefix, link.index));
        for (_, link) in usable.iter().skip(DEVICES_MAX) {
            let name = &link.name;
            made.remarks.push(format!(
                "what leaves by {name} goes by the socket: there are {DEVICES_MAX} other devices"
            ));
        }
        usable.truncate(DEVICES_MAX);
        let device =
            |link: &Link| Device { index: link.index, name: link.name.clone(), mac: link.mac };
        made.devices = usable.iter().map(|(_, link)| device(link)).collect();
        let devices: HashMap<_, _> =
            made.devices.iter().enumerate().map(|(place, device)| (device.index, place)).collect();
        let mut hops: Vec<_> = facts
            .neighbours
            .iter()
            .filter_map(|neighbour| {
                let device = *devices.get(&neighbour.link)?;
                Some(Hop { device, address: neighbour.address, mac: neighbour.mac })
            })
            .collect();
        // In an order of their own, so that equal facts make equal tables.
        hops.sort_by_key(|hop| (hop.device, hop.address));
        hops.dedup_by_key(|hop| (hop.device, hop.address));
        let key = |hop: &Hop| (made.devices[hop.device].index, hop.address);
        let numbers = hops.iter().enumerate().map(|(number, hop)| (key(hop), number)).collect();
        Self { devices, numbers, hops }
    }

    fn family(&mut self, facts: &Facts, family: Family, remarks: &mut Vec<String>) -> Ranges<Way> {
        let routes: Vec<_> =
            facts.routes.iter().filter(|route| family.has(route.destination)).collect();
        let usual = facts.usual_rules[usize::from(family == Family::V6)];
        if !usual || routes.iter().any(|route| route.table == Table::Default) {
            remarks.push(format!(
                "{} goes by the socket, because this host has routing rules of its own",
                family.name()
            ));
            return Ranges::default();
        }
        let chosen = chosen(&routes);
        let bits = family.bits();
        let place = |(number, route): (usize, &Route)| Prefix {
            start: self::number(route.destination),
            length: route.prefix.min(bits),
            value: number,
        };
        let by_route =
            Ranges::flatten(bits, &chosen.iter().enumerate().map(place).collect::<Vec<_>>(), &[]);

        let way = |route: &Route| match &route.leads {
            Leads::ToGateway { link, gateway } if self.devices.contains_key(link) => {
                self.numbers.get(&(*link, *gateway)).copied().ok_or(NoHop::Neighbour)
            }
            Leads::ToLink { link } if self.devices.contains_key(link) => Err(NoHop::Neighbour),
            _ => Err(NoHop::Route),
        };
        let mut ways: Vec<_> = chosen
            .iter()
            .map(|route| Prefix {
                start: self::number(route.destination),
                length: route.prefix.min(bits),
                value: way(route),
            })
            .collect();
        // A neighbour is its own next hop where the route says that all are.
        for (number, hop) in self.hops.iter().enumerate().filter(|(_, hop)| family.has(hop.address))
        {
            let start = self::number(hop.address);
            if let Some(Leads::ToLink { link }) =
                by_route.at(start).map(|route| &chosen[*route].leads)
                && self.devices.get(link) == Some(&hop.device)
            {
                ways.push(Prefix { start, length: bits, value: Ok(number) });
            }
        }
        Ranges::flatten(bits, &ways, &excluded(&routes, family))
    }
}

/// Of the main table's routes to one prefix, that of the lowest metric. Where several of the same
/// metric lead is the kernel's choice.
fn chosen(routes: &[&Route]) -> Vec<Route> {
    let of_main = |route: &&&Route| route.table == Table::Main;
    let mut main: Vec<Route> =
        routes.iter().filter(of_main).map(|route| (*route).clone()).collect();
    main.sort_by_key(|route| (route.destination, route.prefix, route.metric));
    main.dedup_by(|next, first| {
        let same = (next.destination, next.prefix) == (first.destination, first.prefix);
        if same && next.metric == first.metric {
            first.leads = Leads::Elsewhere;
        }
        same
    });
    main
}

/// Destinations that never leave by this table: everything in the kernel's local table, which is
/// asked before all others, and what is special by itself.
fn excluded(routes: &[&Route], family: Family) -> Vec<(u128, u8)> {
    let local = routes.iter().filter(|route| route.table == Table::Local);
    let local = local.map(|route| (number(route.destination), route.prefix.min(family.bits())));
    let special = family
        .special()
        .iter()
        .filter_map(|(address, length)| Some((number(address.parse().ok()?), *length)));
    local.chain(special).collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Addresses of one family, cut into ranges with a value each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges<T> {
    starts: Vec<u128>,
    /// One for each start; a range ends where the next begins.
    values: Vec<Option<T>>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), values: Vec::new() }
    }
}

/// All addresses that begin with these bits.
#[derive(Debug, Clone, Copy)]
struct Prefix<T> {
    start: u128,
    length: u8,
    value: T,
}

/// A prefix around the place where the layout is.
struct Open<T> {
    /// Its last address.
    end: u128,
    value: Option<T>,
}

impl<T: Copy + PartialEq> Ranges<T> {
    /// Lays prefixes out: of those around an address the longest counts, of equal ones the last,
    /// and inside of `excluded` ones none.
    fn flatten(bits: u8, prefixes: &[Prefix<T>], excluded: &[(u128, u8)]) -> Self {
        let all = u128::MAX >> (128 - u32::from(bits));
        let tail = |length: u8| all.checked_shr(length.into()).unwrap_or(0);
        let mut prefixes: Vec<_> = excluded
            .iter()
            .map(|(start, length)| (*start, *length, None))
            .chain(prefixes.iter().map(|each| (each.start, each.length, Some(each.value))))
            .map(|(start, length, value)| (start & all & !tail(length), length, value))
            .collect();
        // Stable: of equal ones the order stays, but an excluded one comes first.
        prefixes.sort_by_key(|(start, length, value)| (*start, *length, value.is_some()));
        let mut ranges = Self::default();
        let mut open: Vec<Open<T>> = Vec::new();
        for (start, length, value) in prefixes {
            ranges.close(&mut open, |end| end < start);
            if open.last().is_none_or(|around| around.value.is_some()) {
                ranges.begin(start, value);
                open.push(Open { end: start | tail(length), value });
            }
        }
        // What ends with the last address has nothing behind it.
        ranges.close(&mut open, |end| end < all);
        ranges
    }

    /// Ends prefixes, innermost first: behind each, the one around it goes on.
    fn close(&mut self, open: &mut Vec<Open<T>>, ended: impl Fn(u128) -> bool) {
        while let Some(inner) = open.pop_if(|inner| ended(inner.end)) {
            self.begin(inner.end + 1, open.last().and_then(|around| around.value));
        }
    }

    fn begin(&mut self, start: u128, value: Option<T>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last().copied().flatten() != value || self.values.is_empty() {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    #[inline]
    fn at(&self, address: u128) -> Option<&T> {
        let place = self.starts.partition_point(|start| *start <= address).checked_sub(1)?;
        self.values[place].as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn link(index: u32) -> Link {
        Link { index, name: format!("eth{index}"), mac: MAC, ethernet: true }
    }

    fn route(destination: &str, metric: u32, leads: Leads) -> Route {
        let (address, prefix) = destination.split_once('/').unwrap();
        let (destination, prefix) = (address.parse().unwrap(), prefix.parse().unwrap());
        Route { table: Table::Main, destination, prefix, metric, leads }
    }

    fn by(link: u32, gateway: &str) -> Leads {
        Leads::ToGateway { link, gateway: gateway.parse().unwrap() }
    }

    fn neighbour(link: u32, address: &str, last: u8) -> Neighbour {
        Neighbour { link, address: address.parse().unwrap(), mac: [2, 0, 0, 0, 1, last] }
    }

    /// A host with a default gateway, a network on a link, and a route to a far one.
    fn facts() -> Facts {
        Facts {
            links: vec![link(2), link(3), Link { ethernet: false, ..link(4) }],
            routes: vec![
                route("0.0.0.0/0", 100, by(2, "192.0.2.1")),
                route("0.0.0.0/0", 200, by(3, "10.0.0.1")),
                route("192.0.2.0/24", 0, Leads::ToLink { link: 2 }),
                route("10.0.0.0/8", 0, Leads::ToLink { link: 3 }),
                route("10.9.0.0/16", 0, Leads::Elsewhere),
                route("10.8.0.0/16", 0, Leads::ToLink { link: 4 }),
                route("10.7.0.0/16", 0, by(3, "10.0.0.77")),
                Route {
                    table: Table::Local,
                    ..route("10.66.0.0/16", 0, Leads::ToLink { link: 1 })
                },
                // More specific, but the local table is asked first.
                route("10.66.1.0/24", 0, by(2, "192.0.2.1")),
                route("2001:db8::/64", 256, Leads::ToLink { link: 2 }),
                route("::/0", 1024, by(2, "fe80::1")),
            ],
            neighbours: vec![
                neighbour(2, "192.0.2.1", 1),
                neighbour(2, "192.0.2.5", 5),
                neighbour(3, "10.0.0.1", 11),
                neighbour(3, "192.0.2.6", 66),
                neighbour(2, "fe80::1", 61),
                neighbour(2, "2001:db8::5", 65),
            ],
            usual_rules: [true; 2],
        }
    }

    fn way(hops: &NextHops, to: &str) -> Result<(String, u8), NoHop> {
        hops.lookup(to.parse().unwrap()).map(|hop| {
            let hop = &hops.hops()[hop];
            (hops.devices()[hop.device].name.clone(), hop.mac[5])
        })
    }

    #[test]
    fn where_packets_go() {
        let hops = NextHops::of(&facts());
        let eth2 = |last| Ok(("eth2".to_owned(), last));
        let table = [
            ("by the default route of the lowest metric", "198.51.100.1", eth2(1)),
            ("to a neighbour", "192.0.2.5", eth2(5)),
            ("to the gateway itself", "192.0.2.1", eth2(1)),
            ("to nobody who is known", "192.0.2.6", Err(NoHop::Neighbour)),
            ("on another link", "10.0.0.1", Ok(("eth3".to_owned(), 11))),
            ("not plain", "10.9.1.1", Err(NoHop::Route)),
            ("not Ethernet", "10.8.1.1", Err(NoHop::Route)),
            ("by a gateway that is not known", "10.7.1.1", Err(NoHop::Neighbour)),
            ("this host", "10.66.1.7", Err(NoHop::Route)),
            ("this host's loopback", "127.0.0.1", Err(NoHop::Route)),
            ("everybody", "255.255.255.255", Err(NoHop::Route)),
            ("a group", "239.1.1.1", Err(NoHop::Route)),
            ("IPv6 by the router", "2001:db8:1::1", eth2(61)),
            ("to a neighbour of IPv6", "2001:db8::5", eth2(65)),
            ("to nobody of IPv6", "2001:db8::6", Err(NoHop::Neighbour)),
            ("on some link", "fe80::1", Err(NoHop::Route)),
            ("IPv4 in IPv6 form", "::ffff:192.0.2.5", Err(NoHop::Route)),
        ];
        for (name, to, expected) in table {
            assert_eq!(way(&hops, to), expected, "{name}: {to}");
        }
        assert!(hops.remarks().is_empty());
    }

    #[test]
    fn what_is_not_usual_takes_a_family_out_and_is_said() {
        let rules = Facts { usual_rules: [false, true], ..facts() };
        let mut default = facts();
        default.routes.push(Route {
            table: Table::Default,
            ..route("198.51.100.0/24", 0, by(2, "192.0.2.1"))
        });
        for facts in [rules, default] {
            let hops = NextHops::of(&facts);
            assert_eq!(way(&hops, "192.0.2.5"), Err(NoHop::Route));
            assert!(way(&hops, "2001:db8::5").is_ok());
            let [remark] = hops.remarks() else { panic!("one remark") };
            assert!(remark.contains("IPv4 goes by the socket"), "{remark}");
        }
    }

    #[test]
    fn of_equal_routes_the_kernel_chooses() {
        let mut facts = facts();
        facts.routes.push(route("::/0", 1024, by(3, "fe80::2")));
        assert_eq!(way(&NextHops::of(&facts), "2001:db8:1::1"), Err(NoHop::Route));
    }

    #[test]
    fn equal_facts_in_any_order_make_equal_tables() {
        let (forwards, mut backwards) = (facts(), facts());
        backwards.links.reverse();
        backwards.routes.reverse();
        backwards.neighbours.reverse();
        assert_eq!(NextHops::of(&forwards), NextHops::of(&backwards));
    }

    #[test]
    fn there_are_only_so_many_devices_and_the_internet_s_is_one_of_them() {
        let mut facts = facts();
        facts.links = (2..20).rev().map(link).collect();
        for index in 5..20 {
            let network = format!("10.100.{index}.0/24");
            facts.routes.push(route(&network, 0, Leads::ToLink { link: index }));
        }
        let hops = NextHops::of(&facts);
        let names: Vec<_> = hops.devices().iter().map(|device| &device.name[..]).collect();
        assert_eq!(names, ["eth2", "eth3", "eth4", "eth5"]);
        assert_eq!(way(&hops, "198.51.100.1"), Ok(("eth2".to_owned(), 1)));
        assert_eq!(hops.remarks().len(), 14);
    }

    #[test]
    fn nothing_is_known_before_anything_was_told() {
        assert_eq!(NextHops::default().lookup([192, 0, 2, 1].into()), Err(NoHop::Route));
    }

    /// The longest prefix around an address, the last of equal ones, unless an excluded one is
    /// around it: word for word.
    fn naive(prefixes: &[Prefix<u8>], excluded: &[(u128, u8)], address: u128) -> Option<u8> {
        let around =
            |start: u128, length: u8| length == 0 || (start ^ address) >> (8 - length) == 0;
        if excluded.iter().any(|(start, length)| around(*start, *length)) {
            return None;
        }
        let mut found: Option<&Prefix<u8>> = None;
        for prefix in prefixes.iter().filter(|each| around(each.start, each.length)) {
            if found.is_none_or(|found| prefix.length >= found.length) {
                found = Some(prefix);
            }
        }
        found.map(|prefix| prefix.value)
    }

    proptest! {
        #[test]
        fn ranges_say_what_the_longest_prefix_says(
            prefixes in proptest::collection::vec((0u128..256, 0u8..=8, 0u8..4), 0..30),
            excluded in proptest::collection::vec((0u128..256, 1u8..=8), 0..5),
        ) {
            let prefixes: Vec<_> = prefixes
                .into_iter()
                .map(|(start, length, value)| Prefix { start, length, value })
                .collect();
            let ranges = Ranges::flatten(8, &prefixes, &excluded);
            for address in 0..256 {
                let expected = naive(&prefixes, &excluded, address);
                prop_assert_eq!(ranges.at(address).copied(), expected, "{}", address);
            }
            prop_assert!(ranges.starts.is_sorted_by(|a, b| a < b));
        }

        #[test]
        fn the_ends_of_all_addresses_are_no_ends_of_the_table(
            prefixes in proptest::collection::vec((any::<u128>(), 0u8..=128), 0..20), address: u128,
        ) {
            let mut prefixes: Vec<_> = prefixes
                .into_iter()
                .map(|(start, length)| Prefix { start, length, value: length })
                .collect();
            prefixes.push(Prefix { start: u128::MAX, length: 128, value: 200 });
            let ranges = Ranges::flatten(128, &prefixes, &[]);
            prop_assert_eq!(ranges.at(u128::MAX), Some(&200));
            let around = |each: &&Prefix<u8>| {
                each.length == 0 || (each.start ^ address) >> (128 - each.length) == 0
            };
            let longest = prefixes.iter().filter(around).map(|each| each.value).max();
            prop_assert_eq!(ranges.at(address).copied(), longest);
        }
    }
}
