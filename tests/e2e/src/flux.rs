//! Annotated CSV, the text InfluxDB answers queries with, as typed rows and as
//! stored points.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use anyhow::{Context, Result, anyhow, bail};
use csv::StringRecord;

/// A typed value of a field, a tag or a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A boolean.
    Boolean(bool),
    /// A string, or a value of a type that has no variant of its own. Without its
    /// carriage returns: InfluxDB leaves them out of its answers.
    String(String),
    /// A time, in nanoseconds since 1970. Only in the rows of queries: no field
    /// has this type.
    Time(i64),
}

/// A row of a query's result: its columns without those that are null.
pub type Row = BTreeMap<String, Value>;

/// A table of a query's result.
pub(crate) struct Table {
    pub columns: Vec<Column>,
    /// A value for each column, none where it is null.
    pub rows: Vec<Vec<Option<Value>>>,
}

impl Table {
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// A point as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The measurement.
    pub measurement: String,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The fields.
    pub fields: BTreeMap<String, Value>,
    /// The time, in nanoseconds since 1970.
    pub time_ns: i64,
}

/// The rows of an annotated CSV text.
pub fn rows(csv: impl Read) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    read(csv, |columns, record| {
        let mut row = Row::new();
        for (index, column) in columns.list.iter().enumerate().skip(1) {
            if let Some(value) = columns.value(index, record)? {
                row.insert(column.name.clone(), value);
            }
        }
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

/// The tables of an annotated CSV text.
pub(crate) fn tables(csv: impl Read) -> Result<Vec<Table>> {
    let mut tables: Vec<Table> = Vec::new();
    let mut last = None;
    read(csv, |columns, record| {
        let number = columns.position("table")?;
        let this = Some((columns.block, record[number].to_owned()));
        if this != last {
            tables.push(Table { columns: columns.list[1..].to_vec(), rows: Vec::new() });
            last = this;
        }
        let row = (1..columns.list.len()).map(|index| columns.value(index, record)).collect::<Result<_>>()?;
        tables.last_mut().context("there is a table")?.rows.push(row);
        Ok(())
    })?;
    Ok(tables)
}

/// The column `_value` of an annotated CSV text in which all values are strings.
pub(crate) fn strings(csv: impl Read) -> Result<Vec<String>> {
    let mut strings = Vec::new();
    let mut value = (0, 0);
    read(csv, |columns, record| {
        if value.0 != columns.block {
            value = (columns.block, columns.position("_value")?);
        }
        match columns.value(value.1, record)? {
            Some(Value::String(text)) => strings.push(text),
            other => bail!("{other:?} is not a string"),
        }
        Ok(())
    })?;
    Ok(strings)
}

/// Puts the points of one measurement together again from the annotated CSV text
/// of an unprocessed `from |> range |> filter`, in which every field of a point
/// is a row in a table of its own. Ordered by time, then tags.
pub(crate) fn points(csv: impl Read, measurement: &str) -> Result<Vec<Point>> {
    let mut series: BTreeMap<BTreeMap<String, String>, usize> = BTreeMap::new();
    let mut points: HashMap<(i64, usize), BTreeMap<String, Value>> = HashMap::new();
    let mut table: Option<Series> = None;
    read(csv, |columns, record| {
        // All rows of a table have the same tags: they are looked at once.
        let table = match &mut table {
            Some(table) if table.has(columns, record) => table,
            table => {
                let next = series.len();
                let number = *series.entry(tags(&columns.list, record)).or_insert(next);
                table.insert(Series::new(columns, record, number)?)
            }
        };
        let Some(Value::Time(time)) = columns.value(table.time, record)? else {
            bail!("a row has no time: {record:?}");
        };
        if let Some(value) = columns.value(table.value, record)? {
            let fields = points.entry((time, table.series)).or_default();
            fields.insert(record[table.field].to_owned(), value);
        }
        Ok(())
    })?;

    let mut tags = vec![BTreeMap::new(); series.len()];
    for (set, number) in series {
        tags[number] = set;
    }
    let mut points = points
        .into_iter()
        .map(|((time_ns, series), fields)| Point {
            measurement: measurement.to_owned(),
            tags: tags[series].clone(),
            fields,
            time_ns,
        })
        .collect::<Vec<_>>();
    points.sort_by(|a, b| (a.time_ns, &a.tags).cmp(&(b.time_ns, &b.tags)));
    Ok(points)
}

/// The table that the rows at hand belong to, and where its columns are.
struct Series {
    block: usize,
    number: String,
    number_column: usize,
    time: usize,
    field: usize,
    value: usize,
    /// The number of its set of tags.
    series: usize,
}

impl Series {
    fn new(columns: &Columns, record: &StringRecord, series: usize) -> Result<Series> {
        let number_column = columns.position("table")?;
        Ok(Series {
            block: columns.block,
            number: record[number_column].to_owned(),
            number_column,
            time: columns.position("_time")?,
            field: columns.position("_field")?,
            value: columns.position("_value")?,
            series,
        })
    }

    fn has(&self, columns: &Columns, record: &StringRecord) -> bool {
        self.block == columns.block && self.number == record[self.number_column]
    }
}

fn tags(columns: &[Column], record: &StringRecord) -> BTreeMap<String, String> {
    let not_tags = ["", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"];
    let all = columns.iter().zip(record);
    all.filter(|(column, _)| !not_tags.contains(&column.name.as_str()))
        .map(|(column, text)| (column.name.clone(), text.to_owned()))
        .collect()
}

/// The columns of the rows that follow an annotation, up to the next one.
#[derive(Default)]
struct Columns {
    /// Counts the annotations.
    block: usize,
    list: Vec<Column>,
}

/// A column, with what the annotation says of it. The first of a row has no
/// name: it is the place of the annotations' own names.
#[derive(Clone, Default)]
pub(crate) struct Column {
    pub name: String,
    pub datatype: String,
    default: String,
    /// Whether all rows of a table have the same.
    pub group: bool,
}

impl Columns {
    fn position(&self, name: &str) -> Result<usize> {
        let position = self.list.iter().position(|column| column.name == name);
        position.ok_or_else(|| anyhow!("the answer has no column {name}"))
    }

    fn value(&self, index: usize, record: &StringRecord) -> Result<Option<Value>> {
        let column = &self.list[index];
        let text = &record[index];
        column.value(text).with_context(|| format!("column {} has {text:?} for a {}", column.name, column.datatype))
    }
}

impl Column {
    fn value(&self, text: &str) -> Result<Option<Value>> {
        let text = if text.is_empty() { &self.default } else { text };
        if text.is_empty() && self.datatype != "string" {
            return Ok(None);
        }
        Ok(Some(match self.datatype.as_str() {
            "double" => Value::Float(text.parse()?),
            "long" => Value::Integer(text.parse()?),
            "unsignedLong" => Value::Unsigned(text.parse()?),
            "boolean" => Value::Boolean(text.parse()?),
            "dateTime:RFC3339" | "dateTime:RFC3339Nano" => {
                Value::Time(text.parse::<jiff::Timestamp>()?.as_nanosecond().try_into()?)
            }
            // InfluxDB writes CRLF for every line feed, also within a value, and
            // leaves out the carriage returns that are stored.
            _ => Value::String(text.replace("\r\n", "\n")),
        }))
    }
}

/// Hands every row of an annotated CSV text to `row`, without holding the text.
///
/// The text is a sequence of blocks: the lines `#datatype`, `#group`, `#default`,
/// a line of names, then rows, which may belong to several tables.
fn read(csv: impl Read, mut row: impl FnMut(&Columns, &StringRecord) -> Result<()>) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(csv);
    let mut columns = Columns::default();
    let mut names_follow = false;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).context("cannot read the answer to a query")? {
        if record[0].starts_with('#') {
            if !names_follow {
                let list = record.iter().map(|_| Column::default()).collect();
                columns = Columns { block: columns.block + 1, list };
                names_follow = true;
            }
            for (column, text) in columns.list.iter_mut().zip(&record).skip(1) {
                match &record[0] {
                    "#datatype" => column.datatype = text.to_owned(),
                    "#default" => column.default = text.to_owned(),
                    "#group" => column.group = text == "true",
                    _ => {}
                }
            }
        } else if names_follow {
            for (column, text) in columns.list.iter_mut().zip(&record) {
                column.name = text.to_owned();
            }
            names_follow = false;
        } else if record.len() != columns.list.len() {
            bail!("a row has {} columns instead of {}: {record:?}", record.len(), columns.list.len());
        } else if columns.list.get(1).is_some_and(|column| column.name == "error") {
            bail!("the query failed: {}", &record[1]);
        } else {
            row(&columns, &record)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BLOCKS: &str = "\
#datatype,string,long,dateTime:RFC3339,string,string,double,string\r
#group,false,false,false,true,true,false,true\r
#default,_result,,,,,,\r
,result,table,_time,_field,_measurement,_value,model\r
,,0,2020-09-13T12:26:40.000000001Z,risk,algorithmia,0.5,\"a,b\"\r
,,0,2020-09-13T12:26:41Z,risk,algorithmia,1,\"a,b\"\r
,,1,2020-09-13T12:26:40.000000001Z,risk,algorithmia,2,c\r
\r
#datatype,string,long,dateTime:RFC3339,string,string,string,string\r
#group,false,false,false,true,true,false,true\r
#default,_result,,,,,,\r
,result,table,_time,_field,_measurement,_value,model\r
,,2,2020-09-13T12:26:40.000000001Z,note,algorithmia,\"two\r\nlines, \"\"quoted\"\"\",\"a,b\"\r
,,2,2020-09-13T12:26:41Z,note,algorithmia,,\"a,b\"\r
\r
";

    #[test]
    fn rows_have_types_and_defaults() {
        let rows = rows(TWO_BLOCKS.as_bytes()).unwrap();
        assert_eq!(rows.len(), 5);
        assert_eq!(rows[0]["result"], Value::String("_result".into()));
        assert_eq!(rows[0]["table"], Value::Integer(0));
        assert_eq!(rows[0]["_time"], Value::Time(1_600_000_000_000_000_001));
        assert_eq!(rows[0]["_value"], Value::Float(0.5));
        assert_eq!(rows[3]["_value"], Value::String("two\nlines, \"quoted\"".into()));
    }

    #[test]
    fn strings_are_found_in_every_block() {
        let (first, second) = TWO_BLOCKS.split_at(TWO_BLOCKS.rfind("#datatype").unwrap());
        assert_eq!(strings(second.as_bytes()).unwrap(), ["two\nlines, \"quoted\"", ""]);
        assert_eq!(strings(format!("{second}{second}").as_bytes()).unwrap().len(), 4);
        assert!(strings(first.as_bytes()).is_err());
    }

    #[test]
    fn points_are_put_together_across_tables() {
        let points = points(TWO_BLOCKS.as_bytes(), "algorithmia").unwrap();
        let point = |model: &str, time_ns, fields: &[(&str, Value)]| Point {
            measurement: "algorithmia".into(),
            tags: BTreeMap::from([("model".into(), model.into())]),
            fields: fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect(),
            time_ns,
        };
        let expected = [
            point(
                "a,b",
                1_600_000_000_000_000_001,
                &[("note", Value::String("two\nlines, \"quoted\"".into())), ("risk", Value::Float(0.5))],
            ),
            point("c", 1_600_000_000_000_000_001, &[("risk", Value::Float(2.0))]),
            point(
                "a,b",
                1_600_000_001_000_000_000,
                &[("note", Value::String(String::new())), ("risk", Value::Float(1.0))],
            ),
        ];
        assert_eq!(points, expected);
    }

    #[test]
    fn an_error_in_the_middle_of_an_answer_is_an_error() {
        let text = format!(
            "{TWO_BLOCKS}#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n\
             ,error,reference\r\n,out of memory,897\r\n"
        );
        let error = rows(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "the query failed: out of memory");
    }
}
