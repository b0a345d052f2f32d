//! Statistics over seeds by hand.

use super::*;

/// One score a seed.
fn seeds(scores: &[f64]) -> TaskScores {
    scores.iter().map(|score| vec![*score]).collect()
}

/// About normal: the sum of twelve uniform numbers less 6.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| f64::from(rng.next_u32()) / 2_f64.powi(32)).sum::<f64>() - 6.0
}

#[test]
fn aggregates_by_hand() {
    // Two of eight are cut at either end: (3 + 4 + 5 + 6) / 4.
    assert_eq!(interquartile_mean(&[8.0, 1.0, 6.0, 3.0, 5.0, 4.0, 2.0, 7.0]), Some(4.5));
    // floor(5 / 4) = 1: (10 + 20 + 30) / 3.
    assert_eq!(interquartile_mean(&[1000.0, 10.0, 0.0, 30.0, 20.0]), Some(20.0));
    // Nothing is cut from three.
    assert_eq!(interquartile_mean(&[0.0, 3.0, 9.0]), Some(4.0));

    // Squares about 5: 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32; sqrt(32 / 7 / 8) = 0.755929.
    let found = mean_and_error(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("a mean");
    assert!((found.standard_error.expect("an error") - 0.755_929).abs() < 1e-6);
    assert_eq!((found.mean, found.num), (5.0, 8));
    assert_eq!(mean_and_error(&[3.0]), Some(Mean { mean: 3.0, standard_error: None, num: 1 }));
    assert_eq!(seed_scores(&[vec![1.0, 3.0], vec![5.0]]), Some(vec![2.0, 5.0]));

    // 1 and 2 against {2, 4}: 0 and a tie, 0.5 of 2 pairs; 3 beats the 2; 5 beats both: (0 + 0.5 + 1 + 2) / 8.
    assert_eq!(probability_of_improvement(&[1.0, 2.0, 3.0, 5.0], &[2.0, 4.0]), Some(3.5 / 8.0));
    assert_eq!(probability_of_improvement(&[2.0, 4.0], &[1.0, 2.0, 3.0, 5.0]), Some(4.5 / 8.0));
}

#[test]
fn intervals_by_hand() {
    // Four draws of {0, 1, 2, 3}, mean of the middle two: it is 0 when at least three draws are 0, (4 * 3 + 1) / 256 = 5.1 % of the time,
    // more than 2.5 %; by symmetry for 3.
    let found = interquartile_mean_interval(&[seeds(&[0.0, 1.0, 2.0, 3.0])], 20_000, 1).expect("an interval");
    assert_eq!((found.estimate, found.low, found.high), (1.5, 0.0, 3.0));

    // Five draws of {0 x 4, 10}, mean of the middle three: 10 / 3 times the draws of 10 beyond one, at most 3. Draws of 10 are 0 or 1 in
    // 0.8^5 + 5 * 0.2 * 0.8^4 = 73.7 %, 2 in 20.5 %, 3 in 5.1 %, more in 0.7 %: the 97.5 % quantile is that of 3.
    let found = interquartile_mean_interval(&[seeds(&[0.0, 0.0, 10.0, 0.0, 0.0])], 20_000, 1).expect("an interval");
    assert_eq!((found.estimate, found.low), (0.0, 0.0));
    assert!((found.high - 20.0 / 3.0).abs() < 1e-12, "{found:?}");

    // Wins of {1, 2, 3} against {2} are 0, 1/2 and 1: three draws are all the first in 1 / 27 = 3.7 % of the time.
    let found = probability_of_improvement_interval(&[seeds(&[1.0, 2.0, 3.0])], &[seeds(&[2.0])], 20_000, 1).expect("an interval");
    assert_eq!((found.estimate, found.low, found.high), (0.5, 0.0, 1.0));

    // Ten seeds against one, 8 won: the number won is binomial(10, 0.8); at most 4 in 0.6 %, at most 5 in 3.3 %, so the 2.5 % quantile is
    // 5; all ten in 10.7 %.
    let x = seeds(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0]);
    let found = probability_of_improvement_interval(&[x], &[seeds(&[0.0])], 20_000, 1).expect("an interval");
    assert!((found.estimate - 0.8).abs() + (found.low - 0.5).abs() + (found.high - 1.0).abs() < 1e-12, "{found:?}");
}

#[test]
fn seeds_are_drawn_within_their_task() {
    // Every task is sure of itself, so any draw that keeps to the tasks gives the same figure.
    let tasks = [seeds(&[1.0; 4]), seeds(&[5.0; 4])];
    let found = interquartile_mean_interval(&tasks, 500, 2).expect("an interval");
    assert_eq!((found.estimate, found.low, found.high), (3.0, 3.0, 3.0));
    // Won on one task, lost on the other, on scales that have nothing in common.
    let (x, y) = ([seeds(&[1.0; 3]), seeds(&[500.0; 3])], [seeds(&[0.0; 2]), seeds(&[900.0; 2])]);
    let found = probability_of_improvement_interval(&x, &y, 500, 2).expect("an interval");
    assert_eq!((found.estimate, found.low, found.high), (0.5, 0.5, 0.5));
}

#[test]
fn a_seed_is_drawn_with_all_its_episodes() {
    // Two seeds whose episodes do not vary: their draws are {0, 0}, {0, 1} and {1, 1} with 1/4, 1/2 and 1/4, however many episodes there
    // are.
    let task = vec![vec![0.0; 100], vec![1.0; 100]];
    let found = interquartile_mean_interval(std::slice::from_ref(&task), 2_000, 3).expect("an interval");
    assert_eq!((found.estimate, found.low, found.high), (0.5, 0.0, 1.0));
    let found = probability_of_improvement_interval(&[task], &[vec![vec![0.5; 30]]], 2_000, 3).expect("an interval");
    assert_eq!((found.estimate, found.low, found.high), (0.5, 0.0, 1.0));
}

#[test]
fn episodes_of_a_seed_are_compared_pair_by_pair() {
    // Pooled over seeds of unequal length, against the definition on all pairs at once.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut draw = |len: usize| -> Vec<f64> { (0..len).map(|_| (4.0 * normal(&mut rng)).round()).collect() };
    let (x, y) = (vec![draw(3), draw(40), draw(7)], vec![draw(11), draw(2)]);
    let expected = probability_of_improvement(&x.concat(), &y.concat()).expect("a probability");
    let found = probability_of_improvement_interval(&[x], &[y], 200, 0).expect("an interval");
    assert!((found.estimate - expected).abs() < 1e-12);
    assert!(found.low < expected && expected < found.high, "{found:?}");
}

#[test]
fn intervals_cover_the_truth_about_as_often_as_they_say() {
    // Percentile intervals of 25 values are a little narrow; binomial noise of 200 trials at 92 % is 2 %.
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut covered = [0; 2];
    for trial in 0..200 {
        let mut draw = |shift: f64| seeds(&(0..25).map(|_| shift + normal(&mut rng)).collect::<Vec<f64>>());
        let (x, y) = (draw(1.0), draw(0.0));
        let found = interquartile_mean_interval(std::slice::from_ref(&x), 400, trial).expect("an interval");
        covered[0] += usize::from(found.low <= 1.0 && 1.0 <= found.high);
        // P(X > Y) of normals one deviation apart is Phi(1 / sqrt(2)) = 0.760250.
        let found = probability_of_improvement_interval(&[x], &[y], 400, trial).expect("an interval");
        covered[1] += usize::from(found.low <= 0.760_250 && 0.760_250 <= found.high);
    }
    assert!(covered.iter().all(|count| (172..=198).contains(count)), "{covered:?} of 200");
}

#[test]
fn the_seed_alone_decides() {
    let task = [seeds(&[1.0, 4.0, 9.0, 16.0, 25.0, 7.0])];
    let of = |seed| interquartile_mean_interval(&task, 100, seed);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let of = |seed| probability_of_improvement_interval(&task, &[seeds(&[5.0, 8.0, 10.0])], 100, seed);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn figures_of_nothing_are_absent() {
    let one = || seeds(&[1.0]);
    assert_eq!(interquartile_mean(&[]), None);
    assert_eq!(interquartile_mean(&[1.0, f64::NAN, 2.0, 3.0, 4.0]), None);
    assert_eq!(mean_and_error(&[]), None);
    assert_eq!(seed_scores(&[vec![1.0], vec![]]), None);
    assert_eq!(probability_of_improvement(&[], &[1.0]), None);
    assert_eq!(probability_of_improvement(&[1.0], &[]), None);
    assert_eq!(probability_of_improvement(&[f64::INFINITY], &[1.0]), None);
    for bad in [vec![], vec![vec![]], seeds(&[1.0, f64::NAN])] {
        assert_eq!(interquartile_mean_interval(&[one(), bad.clone()], 10, 0), None);
        assert_eq!(probability_of_improvement_interval(&[one(), bad.clone()], &[one(), one()], 10, 0), None);
        assert_eq!(probability_of_improvement_interval(&[one()], &[bad], 10, 0), None);
    }
    assert_eq!(interquartile_mean_interval(&[], 10, 0), None);
    assert_eq!(probability_of_improvement_interval(&[one()], &[], 10, 0), None);
    assert_eq!(probability_of_improvement_interval(&[], &[], 10, 0), None);
}
