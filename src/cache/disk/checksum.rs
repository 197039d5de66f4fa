//! The checksum of everything on disk: CRC-64/NVME, which S3 can return for an object, too.

use std::sync::LazyLock;

use crc_fast::CrcAlgorithm;

/// The polynomial of CRC-64/NVME, reflected (NVM Express NVM Command Set Specification, "64b CRC").
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;

/// Whether the vectorized implementation computes the right checksums on this processor. Others did not
/// (golang/go#74775), and a wrong checksum would make every record unreadable after a change of machines.
static IS_VECTORIZED_RIGHT: LazyLock<bool> = LazyLock::new(|| {
    let bytes: Vec<u8> =
        (0..5000_u32).map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect();
    let is_right = [0, 9, 63, 64, 255, 256, 1023, 4096, 4999]
        .iter()
        .all(|&length| vectorized(&bytes[..length]) == portable(&bytes[..length]));
    if !is_right {
        tracing::warn!(
            "this processor's CRC instructions give wrong results; the disk cache does without them"
        );
    }
    is_right
});

/// The checksum of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    if *IS_VECTORIZED_RIGHT { vectorized(bytes) } else { portable(bytes) }
}

fn vectorized(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

fn portable(bytes: &[u8]) -> u64 {
    static TABLE: LazyLock<[u64; 256]> = LazyLock::new(|| {
        let step = |crc: u64| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        std::array::from_fn(|byte| (0..8).fold(byte as u64, |crc, _| step(crc)))
    });
    let next = |crc: u64, byte: &u8| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8;
    !bytes.iter().fold(!0, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_implementations_give_the_published_value() {
        for implementation in [vectorized, portable, checksum] {
            assert_eq!(implementation(b"123456789"), 0xae8b_1486_0a79_9888);
        }
        assert!(*IS_VECTORIZED_RIGHT);
    }
}
