//! What remains of many measurements.

/// The least, the middle and the most of some values.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// Of no values, nothing is a number.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
        return Spread { min: f64::NAN, median: f64::NAN, max: f64::NAN };
    };
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    Spread { min, median: (low + high) / 2.0, max }
}
