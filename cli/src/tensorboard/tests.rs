//! Golden bytes, confirmed with TensorBoard 2.21's own reader, and errors.

use super::*;
use std::fs;

#[test]
fn golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create(folder.path(), 1.5, "test").unwrap();
    events.scalars(300, 2.0, [("charts/SPS", 0.5)]).unwrap();
    events.scalars(301, 2.0, []).unwrap();
    assert_eq!(events.path().file_name().unwrap(), "events.out.tfevents.0000000001.test");
    let bytes = fs::read(events.path()).unwrap();
    let version: &[u8] = &[
        &[0x18, 0, 0, 0, 0, 0, 0, 0][..], // 24 bytes
        &VERSION_LENGTH_CRC,
        &[0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f], // 1: double 1.5
        &[0x1a, 13],                           // 3: 13 bytes
        b"brain.Event:2",
        &VERSION_CRC,
    ]
    .concat();
    let scalars: &[u8] = &[
        &[0x21, 0, 0, 0, 0, 0, 0, 0][..], // 33 bytes = 9 + 3 + 2 + 19
        &SCALARS_LENGTH_CRC,
        &[0x09, 0, 0, 0, 0, 0, 0, 0x00, 0x40], // 1: double 2.0
        &[0x10, 0xac, 0x02],                   // 2: varint 300 = 0b10_0101100
        &[0x2a, 19],                           // 5: summary
        &[0x0a, 17],                           // 1: value
        &[0x0a, 10],                           // 1: tag
        b"charts/SPS",
        &[0x15, 0, 0, 0, 0x3f], // 2: float 0.5
        &SCALARS_CRC,
    ]
    .concat();
    assert_eq!(bytes, [version, scalars].concat());
}

// from a second implementation: bitwise CRC-32C (polynomial 0x82f63b78), then rotate right by 15 and add 0xa282ead8
const VERSION_LENGTH_CRC: [u8; 4] = [0xa3, 0x7f, 0x4b, 0x22];
const VERSION_CRC: [u8; 4] = [0x2a, 0x28, 0x64, 0x6c];
const SCALARS_LENGTH_CRC: [u8; 4] = [0x01, 0x7b, 0xec, 0xf6];
const SCALARS_CRC: [u8; 4] = [0x61, 0x6a, 0xba, 0xa0];

/// RFC 3720 B.4: 32 bytes of zeros have the CRC-32C 8a9136aa; masked: rotate right by 15, add a282ead8.
#[test]
fn checksum_is_castagnoli_masked() {
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(masked_crc32c(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
}

#[test]
fn names_have_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create(folder.path(), 0.0, "test").unwrap();
    assert!(events.scalars(0, 0.0, [("", 1.0)]).is_err());
    assert!(events.scalars(0, 0.0, [("x".repeat(MAX_TAG_BYTES + 1).as_str(), 1.0)]).is_err());
    assert!(EventWriter::create(folder.path(), f64::NAN, "test").is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_path_and_cause() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("events.out.tfevents.0000000005.test")).unwrap();
    let error = format!("{:#}", EventWriter::create(folder.path(), 5.0, "test").unwrap_err());
    assert!(error.contains("tfevents") && error.contains("No space left"), "{error}");
}
