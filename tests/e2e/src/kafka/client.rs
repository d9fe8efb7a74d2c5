//! What a client asks of the broker: topics, messages, consumer groups.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::PATIENCE;

/// librdkafka has a consumer name a group, even if it asks for nothing of one.
const NO_GROUP: &str = "stack";

/// A client of one broker, which connects anew when the broker has restarted.
pub(super) struct Client {
    broker: String,
    /// By their groups, as which they ask what these have committed; none of them joins.
    consumers: Mutex<BTreeMap<String, Arc<BaseConsumer>>>,
}

impl Client {
    pub(super) fn new(broker: &str) -> Client {
        Client { broker: broker.to_owned(), consumers: Mutex::default() }
    }

    pub(super) fn create_topic(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let client: AdminClient<DefaultClientContext> = self.config().create()?;
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        // One for each topic.
        for created in runtime.block_on(client.create_topics([&topic], &options))? {
            created.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        Ok(())
    }

    /// Sends messages to the topic's partitions in turn, each with its time in milliseconds, if it has one. Returns when all are
    /// acknowledged.
    pub(super) fn produce<M: AsRef<[u8]>>(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = (Option<i64>, M)>,
    ) -> Result<()> {
        let partitions = self.partitions(topic)?;
        let producer: BaseProducer<_> = self
            .config()
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            // As large as the broker takes them: its default.
            .set("message.max.bytes", "1048588")
            // No message goes before another when a request is sent again.
            .set("max.in.flight", "1")
            .create_with_context(Failure::default())?;
        for ((time, message), partition) in messages.into_iter().zip((0..partitions).cycle()) {
            let mut record = BaseRecord::<(), _>::to(topic).partition(partition).payload(message.as_ref());
            record.timestamp = time;
            while let Err((error, unsent)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                record = unsent;
                producer.poll(Duration::from_millis(10));
            }
        }
        producer.flush(PATIENCE)?;
        let failure = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The offset of the next message of each partition.
    pub(super) fn end_offsets(&self, topic: &str) -> Result<Vec<i64>> {
        let client = self.consumer(NO_GROUP)?;
        let end = |partition| Ok(client.fetch_watermarks(topic, partition, PATIENCE)?.1);
        (0..self.partitions(topic)?).map(end).collect()
    }

    /// The offsets a group has committed in the partitions 0 to `partitions` of a topic; 0 where it has committed none.
    pub(super) fn committed(&self, group: &str, topic: &str, partitions: i32, patience: Duration) -> Result<Vec<i64>> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, partitions - 1);
        let committed = self.consumer(group)?.committed_offsets(asked, patience)?;
        let offset = |committed: TopicPartitionListElem<'_>| {
            committed.error()?;
            Ok(if let Offset::Offset(offset) = committed.offset() { offset } else { 0 })
        };
        committed.elements().into_iter().map(offset).collect()
    }

    /// How many partitions of a topic each member of a group reads. None while the group is not stable.
    pub(super) fn shares(&self, group: &str, topic: &str) -> Result<Vec<usize>> {
        let groups = self.consumer(NO_GROUP)?.fetch_group_list(Some(group), PATIENCE)?;
        let stable = groups.groups().iter().filter(|group| group.state() == "Stable");
        let members = stable.flat_map(|group| group.members());
        members
            .map(|member| assigned(member.assignment().unwrap_or_default(), topic).context("an assignment breaks off"))
            .collect()
    }

    pub(super) fn partitions(&self, topic: &str) -> Result<i32> {
        let metadata = self.consumer(NO_GROUP)?.fetch_metadata(Some(topic), PATIENCE)?;
        let topic = metadata.topics().first().context("no word of the topic")?;
        match topic.error() {
            Some(error) => bail!(KafkaError::MetadataFetch(error.into())),
            None => Ok(i32::try_from(topic.partitions().len())?),
        }
    }

    fn consumer(&self, group: &str) -> Result<Arc<BaseConsumer>> {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consumer) = consumers.get(group) {
            return Ok(Arc::clone(consumer));
        }
        let consumer = Arc::new(self.config().set("group.id", group).create::<BaseConsumer>()?);
        consumers.insert(group.to_owned(), Arc::clone(&consumer));
        Ok(consumer)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker).set("reconnect.backoff.max.ms", "100");
        config
    }
}

/// The first message that could not be delivered.
#[derive(Default)]
struct Failure(Mutex<Option<KafkaError>>);

impl ClientContext for Failure {}

impl ProducerContext for Failure {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

/// How many partitions of a topic are in a member's assignment, which clients write and librdkafka hands on as it is.
fn assigned(mut assignment: &[u8], topic: &str) -> Option<usize> {
    if assignment.is_empty() {
        return Some(0);
    }
    let mut take = |len| assignment.split_off(..len);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let mut count = 0;
    let _version = take(2)?;
    for _ in 0..number(take(4)?) {
        let len = number(take(2)?);
        let name = take(len)?;
        let partitions = number(take(4)?);
        take(4 * partitions)?;
        if name == topic.as_bytes() {
            count += partitions;
        }
    }
    Some(count)
}
