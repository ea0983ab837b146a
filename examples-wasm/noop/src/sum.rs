//! Reading every byte; the host compiles this in as well, where it measures itself.

/// A sum into which every byte goes, by words of eight as a careful programmer reads.
pub fn sum(bytes: Option<&[u8]>) -> u64 {
    let (words, last) = bytes.unwrap_or_default().as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add);
    last.iter().map(|byte| u64::from(*byte)).fold(words, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_is_read() {
        assert_eq!(super::sum(Some(&[1, 2, 255])), 258);
        let one_each: Vec<u8> = vec![1; 19];
        assert_eq!(super::sum(Some(&one_each)), 2 * u64::from_le_bytes([1; 8]) + 3);
        assert_eq!(super::sum(None), 0);
    }
}
