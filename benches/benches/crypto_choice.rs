//! The figures behind ADR 1: the candidate crates side by side, at the sizes we use.
#![allow(missing_docs, clippy::unwrap_used)]

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, KeyInit};
use aes_gcm::AeadInOut;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use criterion::{Criterion, criterion_group, criterion_main};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use std::hint::black_box;

const KEY: [u8; 16] = [7; 16];

fn block(c: &mut Criterion) {
    let mut group = c.benchmark_group("choice: AES-128, one block");
    let cipher = Aes128::new(&KEY.into());
    group.bench_function("RustCrypto aes", |b| {
        b.iter(|| {
            let mut block = black_box([1; 16]).into();
            cipher.decrypt_block(&mut block);
            block
        });
    });
    let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_128, &KEY).unwrap()).unwrap();
    group.bench_function("aws-lc-rs ecb", |b| {
        b.iter(|| {
            let mut block = black_box([1; 16]);
            key.decrypt(&mut block, DecryptionContext::None).unwrap();
            block
        });
    });
    group.finish();
}

fn integrity(c: &mut Criterion) {
    let mut group = c.benchmark_group("choice: HMAC-SHA1 of 100 B, key of 44 B");
    let (key, message) = ([3; 44], [5; 100]);
    group.bench_function("RustCrypto hmac + sha1", |b| {
        b.iter(|| {
            let mut mac = Hmac::<Sha1>::new_from_slice(black_box(&key)).unwrap();
            mac.update(black_box(&message));
            mac.finalize().into_bytes()
        });
    });
    group.bench_function("aws-lc-rs hmac", |b| {
        b.iter(|| {
            use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
            let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, black_box(&key));
            sign(&key, black_box(&message))
        });
    });
    group.finish();
}

fn seal(c: &mut Criterion) {
    for bytes in [160, 1400, 8900] {
        let mut group = c.benchmark_group(format!("choice: AES-128-GCM seal {bytes} B"));
        let mut content = vec![0; bytes];
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).unwrap());
        group.bench_function("aws-lc-rs", |b| {
            b.iter(|| {
                let nonce = Nonce::assume_unique_for_key(black_box([9; 12]));
                key.seal_in_place_separate_tag(nonce, Aad::from([0; 16]), &mut content).unwrap()
            });
        });
        let key = aes_gcm::Aes128Gcm::new(&KEY.into());
        group.bench_function("RustCrypto aes-gcm", |b| {
            b.iter(|| {
                let nonce = black_box([9; 12]).into();
                key.encrypt_inout_detached(&nonce, &[0; 16], content.as_mut_slice().into()).unwrap()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, block, integrity, seal);
criterion_main!(benches);
