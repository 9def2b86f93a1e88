//! Records as values: small ones as they are, so that `etcdctl get` shows them; long ones, such as the receipt of a film's
//! sound, as gzip (RFC 1952), which makes a tenth of a list of segments but for its checksums.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::long;

/// Up to this many bytes a record is kept as it is.
const PLAIN: usize = 16 << 10;
/// Every gzip member begins so; JSON never does.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Longest record that is unpacked, in bytes: damage must not fill the memory.
const LONGEST: u64 = 256 << 20;

/// A record as it is stored.
pub fn pack(record: Vec<u8>) -> io::Result<Vec<u8>> {
    let clear = !record.starts_with(&MAGIC) && !record.starts_with(long::MARK.as_bytes());
    if record.len() <= PLAIN && clear {
        return Ok(record);
    }
    let mut packed = GzEncoder::new(Vec::with_capacity(record.len() / 4), Compression::fast());
    packed.write_all(&record)?;
    packed.finish()
}

/// A stored record as it was.
pub fn unpack(value: Vec<u8>) -> io::Result<Vec<u8>> {
    if !value.starts_with(&MAGIC) {
        return Ok(value);
    }
    let mut record = Vec::with_capacity(value.len() * 4);
    GzDecoder::new(value.as_slice()).take(LONGEST).read_to_end(&mut record)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were() {
        let long = b"{\"segments\":1}".repeat(10_000);
        for record in [Vec::new(), b"{}".to_vec(), MAGIC.to_vec(), long::MARK.into(), vec![b'x'; PLAIN], long.clone()] {
            assert_eq!(unpack(pack(record.clone()).unwrap()).unwrap(), record);
        }
        assert_eq!(pack(b"{}".to_vec()).unwrap(), b"{}");
        assert!(pack(long.clone()).unwrap().len() < long.len() / 4);
    }

    #[test]
    fn damage_is_an_error() {
        let mut packed = pack(vec![b'x'; PLAIN + 1]).unwrap();
        packed.truncate(packed.len() - 9);
        assert!(unpack(packed).is_err());
    }
}
