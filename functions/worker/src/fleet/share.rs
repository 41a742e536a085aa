//! Who gets how many shards.

/// How many of `shards` worker `me` is to hold beside `others`: an equal part, and one of those left over for the first in the
/// order of names. Everybody who sees the same workers comes to parts that add up to all.
pub(super) fn part<'a>(shards: u16, me: &str, others: impl Iterator<Item = &'a str>) -> usize {
    let (mut workers, mut before) = (1_usize, 0_usize);
    for other in others {
        workers += 1;
        before += usize::from(other < me);
    }
    let shards = usize::from(shards);
    shards / workers + usize::from(before < shards % workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_differ_by_one_at_most() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        for shards in [1, 4, 16, 17, 64] {
            for count in 1..=names.len() {
                let parts: Vec<usize> = (0..count)
                    .map(|me| {
                        let others = (0..count).filter(|other| *other != me).map(|other| names[other]);
                        part(shards, names[me], others)
                    })
                    .collect();
                assert_eq!(parts.iter().sum::<usize>(), usize::from(shards), "{count} workers: {parts:?}");
                let (most, least) = (parts.iter().max(), parts.iter().min());
                assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{parts:?}");
            }
        }
    }
}
