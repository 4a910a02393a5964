//! A hash whose collisions nobody can arrange, for tables whose keys strangers choose.
//!
//! Multilinear hashing over words of 32 bits, modulo 2^64, with random coefficients: two different
//! keys, chosen by someone who does not know the coefficients, have the same sum with a probability
//! of at most 2^-33 (Lemire and Kaser, "Strongly universal string hashing is fast", 2012). A fixed
//! bijection then mixes the sum, because the plain one maps addresses in a row to an arithmetic
//! progression, which linear probing dislikes. Five multiplications for an IPv6 client, two for an
//! IPv4 one; SipHash would cost ten times as much.

use wire::address::Address;

/// The coefficients of one table.
#[derive(Clone)]
pub(super) struct KeyedHash {
    coefficients: [u64; Self::COEFFICIENTS],
}

impl KeyedHash {
    const COEFFICIENTS: usize = 6;

    /// Draws the coefficients.
    pub(super) fn new(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut coefficients = [0; Self::COEFFICIENTS];
        for coefficient in &mut coefficients {
            let mut bytes = [0; 8];
            random(&mut bytes);
            *coefficient = u64::from_ne_bytes(bytes);
        }
        Self { coefficients }
    }

    /// The hash of an address and one byte more.
    #[inline]
    pub(super) fn of_address(&self, address: &Address, more: u8) -> u32 {
        let [start, tail, words @ ..] = &self.coefficients;
        let last = u32::from(address.port()) << 8 | u32::from(more);
        let mut sum = start.wrapping_add(tail.wrapping_mul(u64::from(last)));
        // An IPv4 address is one word here, an IPv6 address four. So `a.b.c.d` collides with the one
        // IPv6 address that begins with the same bytes and is zero behind them, and with no other.
        let (chunks, _) = address.ip_bytes().as_chunks::<4>();
        for (coefficient, chunk) in words.iter().zip(chunks) {
            let word = u64::from(u32::from_be_bytes(*chunk));
            sum = sum.wrapping_add(coefficient.wrapping_mul(word));
        }
        mix(sum)
    }

    /// The hash of two words.
    #[inline]
    pub(super) fn of_words(&self, first: u32, second: u32) -> u32 {
        let [start, a, b, ..] = self.coefficients;
        let sum = a.wrapping_mul(u64::from(first)).wrapping_add(b.wrapping_mul(u64::from(second)));
        mix(start.wrapping_add(sum))
    }
}

/// The finaliser of MurmurHash3 (public domain), and the upper half of it.
#[inline]
const fn mix(mut value: u64) -> u32 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^= value >> 33;
    (value >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    fn hash(seed: u8) -> KeyedHash {
        let mut state = u64::from(seed) + 1;
        KeyedHash::new(&mut |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        })
    }

    #[test]
    fn another_seed_is_another_hash() {
        let address = Address::new(Ipv4Addr::new(192, 0, 2, 1).into(), 5000);
        assert_ne!(hash(1).of_address(&address, 0), hash(2).of_address(&address, 0));
        assert_ne!(hash(1).of_words(1, 2), hash(2).of_words(1, 2));
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let hash = hash(1);
        let v6 = |last: u16, port| Address::new([1, 2, 3, 4, 5, 6, 7, last].into(), port);
        let base = hash.of_address(&v6(8, 5000), 0);
        assert_ne!(base, hash.of_address(&v6(9, 5000), 0));
        assert_ne!(base, hash.of_address(&v6(8, 5001), 0));
        assert_ne!(base, hash.of_address(&v6(8, 5000), 1));
        assert_ne!(hash.of_words(1, 2), hash.of_words(2, 1));
    }

    #[test]
    fn addresses_in_a_row_spread_evenly() {
        const BUCKETS: usize = 1024;
        let hash = hash(3);
        let mut fill = [0u32; BUCKETS];
        let mut seen = HashSet::new();
        for port in 0..=u16::MAX {
            let address = Address::new(Ipv4Addr::new(10, 0, 0, 1).into(), port);
            let value = hash.of_address(&address, 0);
            seen.insert(value);
            fill[crate::core::slot_index::scale(value, BUCKETS)] += 1;
        }
        // 64 expected in each, with a standard deviation of 8.
        assert!(fill.iter().all(|&count| (16..=128).contains(&count)));
        assert!(seen.len() > 65_000, "{} of 65,536 differ", seen.len());
    }
}
