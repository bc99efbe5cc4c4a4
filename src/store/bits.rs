//! Numbers as bits, for lists and ids whose values are less than a byte each. Knows no format.

/// Appends numbers to bytes, the lowest bits first.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    held: u128,
    bits: u32,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, held: 0, bits: 0 }
    }

    /// The lowest `width` bits of a number; 64 at most.
    pub(super) fn push(&mut self, number: u64, width: u32) {
        let number = u128::from(number) & ((1 << width) - 1);
        self.held |= number << self.bits;
        self.bits += width;
        while self.bits >= 8 {
            self.out.push(self.held as u8);
            self.held >>= 8;
            self.bits -= 8;
        }
    }

    /// A number in Rice's code: what is beyond `width` bits as so many ones, a zero, and the bits.
    pub(super) fn push_rice(&mut self, number: u64, width: u32) {
        let mut beyond = number >> width;
        while beyond >= 32 {
            self.push(u64::from(u32::MAX), 32);
            beyond -= 32;
        }
        self.push((1 << beyond) - 1, beyond as u32 + 1);
        self.push(number, width);
    }

    /// Fills the last byte.
    pub(super) fn end(self) {
        if self.bits > 0 {
            self.out.push(self.held as u8);
        }
    }
}

/// How wide numbers are best written in Rice's code, and about how many bits they take then.
pub(super) fn rice_width(numbers: &[u64]) -> (u32, u128) {
    let sum: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
    let mean = sum / (numbers.len().max(1) as u128);
    let around = 128 - mean.leading_zeros();
    let cost = |width: u32| -> u128 {
        numbers.iter().map(|number| u128::from(number >> width) + 1 + u128::from(width)).sum()
    };
    let widths = around.saturating_sub(3)..=around.min(62);
    widths.map(|width| (width, cost(width))).min_by_key(|(_, cost)| *cost).unwrap_or((0, 0))
}

/// Reads what was written, to the last whole number.
pub(super) struct Reader<'i> {
    input: &'i [u8],
    at: usize,
}

impl<'i> Reader<'i> {
    pub(super) fn new(input: &'i [u8]) -> Self {
        Self { input, at: 0 }
    }

    fn bit(&mut self) -> Option<u64> {
        let byte = self.input.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(u64::from(bit))
    }

    pub(super) fn pull(&mut self, width: u32) -> Option<u64> {
        let mut number = 0;
        let mut have = 0;
        while have < width {
            let byte = u64::from(*self.input.get(self.at / 8)?);
            let (offset, take) = ((self.at % 8) as u32, (8 - (self.at % 8) as u32).min(width - have));
            number |= (byte >> offset & ((1 << take) - 1)) << have;
            have += take;
            self.at += take as usize;
        }
        Some(number)
    }

    pub(super) fn pull_rice(&mut self, width: u32) -> Option<u64> {
        let mut beyond: u64 = 0;
        while self.bit()? == 1 {
            beyond += 1;
        }
        let low = self.pull(width)?;
        beyond.checked_shl(width).filter(|high| high >> width == beyond).map(|high| high | low)
    }

    /// True where nothing but the fill of the last byte is left.
    pub(super) fn is_done(&self) -> bool {
        self.at.div_ceil(8) == self.input.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(numbers: Vec<(u64, u32)>, rice: Vec<u32>) {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out);
            let rice: Vec<_> = rice.iter().map(|number| u64::from(*number)).collect();
            let (width, cost) = rice_width(&rice);
            for (number, width) in &numbers {
                writer.push(*number, width % 65);
            }
            rice.iter().for_each(|number| writer.push_rice(*number, width));
            writer.end();
            let written: u128 = numbers.iter().map(|(_, width)| u128::from(width % 65)).sum();
            prop_assert_eq!(out.len() as u128, (written + cost).div_ceil(8));
            let mut reader = Reader::new(&out);
            for (number, width) in &numbers {
                let mask = if width % 65 == 64 { u64::MAX } else { (1 << (width % 65)) - 1 };
                prop_assert_eq!(reader.pull(width % 65), Some(number & mask));
            }
            for number in &rice {
                prop_assert_eq!(reader.pull_rice(width), Some(*number));
            }
            prop_assert!(reader.is_done());
        }

        #[test]
        fn damage_is_none_and_no_panic(bytes: Vec<u8>, width in 0u32..63) {
            let mut reader = Reader::new(&bytes);
            while reader.pull_rice(width).is_some() {}
        }
    }
}
