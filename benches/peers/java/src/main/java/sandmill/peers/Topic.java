package sandmill.peers;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;

/**
 * The input as the broker knows it, looked at before the clock runs and once more behind it.
 *
 * @param begins the first offset of each partition
 * @param ends the next offset of each partition
 */
record Topic(String name, Map<Integer, Long> begins, Map<Integer, Long> ends) {
    /** For the broker's answers. */
    private static final int ANSWER_MS = 20_000;

    static Admin admin(String brokers) {
        return Admin.create(Map.of(
            AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, brokers,
            AdminClientConfig.REQUEST_TIMEOUT_MS_CONFIG, ANSWER_MS,
            AdminClientConfig.DEFAULT_API_TIMEOUT_MS_CONFIG, ANSWER_MS));
    }

    /** Looks where the topic begins and ends; there have to be {@code records} in between. */
    static Topic look(Admin admin, String name, long records) throws Exception {
        try {
            TopicDescription topic = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
            Topic found = new Topic(
                name, offsets(admin, topic, OffsetSpec.earliest()), offsets(admin, topic, OffsetSpec.latest()));
            if (found.records() != records) {
                throw new IllegalStateException(name + " holds " + found.records() + " records, not " + records);
            }
            return found;
        } catch (ExecutionException refused) {
            throw new IllegalStateException(name + " cannot be looked at", refused.getCause());
        }
    }

    private static Map<Integer, Long> offsets(Admin admin, TopicDescription topic, OffsetSpec which) throws Exception {
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        for (TopicPartitionInfo partition : topic.partitions()) {
            wanted.put(new TopicPartition(topic.name(), partition.partition()), which);
        }
        Map<Integer, Long> offsets = new TreeMap<>();
        admin.listOffsets(wanted).all().get()
            .forEach((partition, found) -> offsets.put(partition.partition(), found.offset()));
        return offsets;
    }

    private long records() {
        return ends.keySet().stream().mapToLong(partition -> ends.get(partition) - begins.get(partition)).sum();
    }

    /** The partitions whose end is not among the offsets that were committed. */
    List<Integer> uncommitted(Map<TopicPartition, OffsetAndMetadata> committed) {
        return ends.keySet().stream().filter(partition -> {
            OffsetAndMetadata offset = committed.get(new TopicPartition(name, partition));
            // A partition without records needs no commit.
            return (offset == null ? begins.get(partition) : offset.offset()) != ends.get(partition).longValue();
        }).toList();
    }

    /** Asks the broker what the group has committed: it has to be the end of every partition. */
    void checkCommitted(Admin admin, String group) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> committed =
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        if (!uncommitted(committed).isEmpty()) {
            throw new IllegalStateException(
                name + " is not committed to its end " + ends + " in partitions " + uncommitted(committed)
                    + "; the broker has " + committed);
        }
    }
}
