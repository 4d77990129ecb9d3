import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.ValueAndTimestamp;

/**
 * The bench's job in Kafka Streams: orders joined with lines, payments and customers, and their four events.
 *
 * <p>Orders are read as they lie; lines and payments, which are keyed by something else, are repartitioned by order
 * beside them; customers are a global table. One processor keeps each order with its rows in a cached RocksDB store,
 * and compares the order before and after each row. Tasks take their partitions' records by the time of the source's
 * commits. (Tried and left: a longer wait for partitions that are empty, max.task.idle.ms = 1000, mends nothing on a
 * backlog and costs time; none, -1, tells most OrderPaid wrong too.) Source transactions are not known here: an event is told when its row comes.
 */
public final class Orders {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final JsonFactory FACTORY = JSON.getFactory();
    private static final String STORE = "orders";
    private static final String CUSTOMERS = "customers";
    private static final int PARTITIONS = 3;

    // -- rows, as Debezium's envelopes show them: the columns that are used ------------------------------------------

    sealed interface Row permits Header, Line, Payment {
        long ord_no();
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Header(long ord_no, String rec_typ, long cust_no, String ord_stat, long tot_cents, String cur)
            implements Row {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Line(long ord_no, int line_no, String itm_cd, int qty, long prc_cents) implements Row {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Payment(long pay_no, long ord_no, String st, String del_flg) implements Row {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Customer(String ctry_cd) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Source(long ts_ms) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Envelope<T>(String op, T before, T after, Source source) {}

    record Change(boolean deleted, Row row, long time) {}

    record Event(String type, byte[] data) {}

    private static ObjectReader envelopes(Class<?> row) {
        return JSON.readerFor(JSON.getTypeFactory().constructParametricType(Envelope.class, row));
    }

    private static Serde<Change> debezium(Class<? extends Row> kind) {
        ObjectReader reader = envelopes(kind);
        Deserializer<Change> deserializer = (topic, bytes) -> {
            if (bytes == null) {
                return null;
            }
            try {
                Envelope<Row> envelope = reader.readValue(bytes);
                boolean deleted = envelope.op().equals("d");
                return new Change(deleted, deleted ? envelope.before() : envelope.after(), envelope.source().ts_ms());
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom((topic, change) -> {
            throw new UnsupportedOperationException("only read");
        }, deserializer);
    }

    // -- an order with its rows, and what they mean ------------------------------------------------------------------

    /** The rows of one order. */
    static final class Order {
        Header header;
        final TreeMap<Integer, Line> lines = new TreeMap<>();
        final TreeMap<Long, Payment> payments = new TreeMap<>();

        /** Whether it changed anything. */
        boolean apply(Change change) {
            boolean deleted = change.deleted();
            if (change.row() instanceof Header row) {
                Header old = header;
                header = deleted ? null : row;
                return !Objects.equals(old, header);
            } else if (change.row() instanceof Line row) {
                Line old = deleted ? lines.remove(row.line_no()) : lines.put(row.line_no(), row);
                return deleted ? old != null : !row.equals(old);
            }
            Payment row = (Payment) change.row();
            Payment old = deleted ? payments.remove(row.pay_no()) : payments.put(row.pay_no(), row);
            return deleted ? old != null : !row.equals(old);
        }

        boolean exists() {
            return header != null && "O".equals(header.rec_typ());
        }

        String status() {
            return exists() ? header.ord_stat() : "";
        }

        boolean captured() {
            if (!exists()) {
                return false;
            }
            for (Payment payment : payments.descendingMap().values()) {
                if ("N".equals(payment.del_flg())) {
                    return "C".equals(payment.st());
                }
            }
            return false;
        }
    }

    static final class OrderProcessor implements Processor<String, Change, String, Event> {
        private ProcessorContext<String, Event> context;
        private KeyValueStore<String, Order> orders;
        private KeyValueStore<String, ValueAndTimestamp<byte[]>> customers;
        private final ObjectReader customerReader = envelopes(Customer.class);

        @Override
        public void init(ProcessorContext<String, Event> context) {
            this.context = context;
            this.orders = context.getStateStore(STORE);
            this.customers = context.getStateStore(CUSTOMERS);
        }

        @Override
        public void process(Record<String, Change> record) {
            if (record.value() == null) {
                return;
            }
            Order known = orders.get(record.key());
            Order order = known == null ? new Order() : known;
            String status = order.status();
            boolean captured = order.captured();
            long total = order.exists() ? order.header.tot_cents() : 0;
            if (!order.apply(record.value())) {
                return;
            }
            orders.put(record.key(), order);
            boolean changed = !order.status().equals(status);
            if (changed && order.status().equals("P")) {
                forward(record, order, "OrderPlaced", true, true, true, true, null);
            }
            if (order.captured() && !captured) {
                forward(record, order, "OrderPaid", false, false, true, false, null);
            }
            if (changed && order.status().equals("S")) {
                forward(record, order, "OrderShipped", true, false, false, false, null);
            }
            if (changed && order.status().equals("X")) {
                forward(record, order, "OrderCancelled", false, false, false, false, captured ? total : 0L);
            }
        }

        private void forward(Record<String, Change> cause, Order order, String type, boolean customer, boolean country,
                boolean amount, boolean lines, Long refund) {
            Header header = order.header;
            String id = Long.toString(header.ord_no());
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
            try (JsonGenerator json = FACTORY.createGenerator(bytes)) {
                json.writeStartObject();
                json.writeStringField("orderId", id);
                if (customer) {
                    json.writeStringField("customerId", Long.toString(header.cust_no()));
                }
                if (country) {
                    json.writeStringField("country", country(header.cust_no()));
                }
                if (amount) {
                    json.writeStringField("total", money(header.tot_cents()));
                    json.writeStringField("currency", header.cur() == null ? "EUR" : header.cur().trim());
                }
                if (lines) {
                    json.writeArrayFieldStart("lines");
                    for (Line line : order.lines.values()) {
                        json.writeStartObject();
                        json.writeStringField("sku", line.itm_cd().trim());
                        json.writeNumberField("quantity", line.qty());
                        json.writeStringField("price", money(line.prc_cents()));
                        json.writeEndObject();
                    }
                    json.writeEndArray();
                }
                if (refund != null) {
                    json.writeStringField("refundDue", money(refund));
                }
                json.writeEndObject();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            RecordHeaders headers = new RecordHeaders();
            headers.add("ce_type", type.getBytes(StandardCharsets.UTF_8));
            context.forward(new Record<>(id, new Event(type, bytes.toByteArray()), cause.timestamp(), headers));
        }

        private String country(long number) throws IOException {
            ValueAndTimestamp<byte[]> row = customers.get("{\"cust_no\":" + number + "}");
            if (row == null) {
                return "unknown";
            }
            Envelope<Customer> envelope = customerReader.readValue(row.value());
            String country = envelope.after() == null ? null : envelope.after().ctry_cd();
            return country == null ? "unknown" : country.trim();
        }

        private static String money(long cents) {
            return cents / 100 + "." + (cents % 100 < 10 ? "0" : "") + cents % 100;
        }
    }

    // -- rows as bytes, in the store and between the tasks -----------------------------------------------------------

    private static void write(DataOutputStream out, Row any) throws IOException {
        if (any instanceof Header row) {
            out.writeByte('H');
            out.writeLong(row.ord_no());
            text(out, row.rec_typ());
            out.writeLong(row.cust_no());
            text(out, row.ord_stat());
            out.writeLong(row.tot_cents());
            text(out, row.cur());
        } else if (any instanceof Line row) {
            out.writeByte('L');
            out.writeLong(row.ord_no());
            out.writeInt(row.line_no());
            text(out, row.itm_cd());
            out.writeInt(row.qty());
            out.writeLong(row.prc_cents());
        } else if (any instanceof Payment row) {
            out.writeByte('P');
            out.writeLong(row.pay_no());
            out.writeLong(row.ord_no());
            text(out, row.st());
            text(out, row.del_flg());
        }
    }

    private static Row read(DataInputStream in) throws IOException {
        return switch (in.readByte()) {
            case 'H' -> new Header(in.readLong(), text(in), in.readLong(), text(in), in.readLong(), text(in));
            case 'L' -> new Line(in.readLong(), in.readInt(), text(in), in.readInt(), in.readLong());
            default -> new Payment(in.readLong(), in.readLong(), text(in), text(in));
        };
    }

    private static void text(DataOutputStream out, String text) throws IOException {
        out.writeBoolean(text != null);
        if (text != null) {
            out.writeUTF(text);
        }
    }

    private static String text(DataInputStream in) throws IOException {
        return in.readBoolean() ? in.readUTF() : null;
    }

    private interface Writer<T> {
        void write(DataOutputStream out, T value) throws IOException;
    }

    private interface Reader<T> {
        T read(DataInputStream in) throws IOException;
    }

    private static <T> Serde<T> serde(Writer<T> writer, Reader<T> reader) {
        return Serdes.serdeFrom((topic, value) -> {
            if (value == null) {
                return null;
            }
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
            try {
                writer.write(new DataOutputStream(bytes), value);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            return bytes.toByteArray();
        }, (topic, bytes) -> {
            if (bytes == null) {
                return null;
            }
            try {
                return reader.read(new DataInputStream(new ByteArrayInputStream(bytes)));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        });
    }

    private static final Serde<Change> CHANGES = serde((out, change) -> {
        out.writeBoolean(change.deleted());
        write(out, change.row());
    }, in -> new Change(in.readBoolean(), read(in), 0));

    private static final Serde<Order> ORDERS = serde((out, order) -> {
        List<Row> rows = new ArrayList<>();
        if (order.header != null) {
            rows.add(order.header);
        }
        rows.addAll(order.lines.values());
        rows.addAll(order.payments.values());
        out.writeInt(rows.size());
        for (Row row : rows) {
            write(out, row);
        }
    }, in -> {
        Order order = new Order();
        for (int left = in.readInt(); left > 0; left--) {
            order.apply(new Change(false, read(in), 0));
        }
        return order;
    });

    // -- the topology, and its life ----------------------------------------------------------------------------------

    private static Topology topology(String prefix, String output) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.globalTable(prefix + ".public.t_cust", Consumed.with(Serdes.String(), Serdes.ByteArray()),
                Materialized.as(CUSTOMERS));
        builder.addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(STORE), Serdes.String(), ORDERS).withCachingEnabled());
        KStream<String, Change> others = rows(builder, prefix + ".public.t_ord_line", Line.class)
                .merge(rows(builder, prefix + ".public.t_pay", Payment.class))
                .filter((key, change) -> change != null)
                .selectKey((key, change) -> "{\"ord_no\":" + change.row().ord_no() + "}")
                .repartition(Repartitioned.with(Serdes.String(), CHANGES).withName("by-order")
                        .withNumberOfPartitions(PARTITIONS));
        rows(builder, prefix + ".public.t_ord", Header.class)
                .merge(others)
                .process(OrderProcessor::new, STORE)
                .mapValues(Event::data)
                .to(output, Produced.with(Serdes.String(), Serdes.ByteArray()));
        return builder.build();
    }

    private static KStream<String, Change> rows(StreamsBuilder builder, String topic, Class<? extends Row> kind) {
        return builder.stream(topic, Consumed.with(Serdes.String(), debezium(kind)).withTimestampExtractor(
                (record, time) -> record.value() instanceof Change change ? change.time() : record.timestamp()));
    }

    public static void main(String[] arguments) throws InterruptedException {
        String bootstrap = arguments[0];
        String name = arguments[1];
        String prefix = arguments[2];
        String output = arguments[3];
        String directory = arguments[4];
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(StreamsConfig.STATE_DIR_CONFIG, directory);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        config.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        config.put("auto.offset.reset", "earliest");
        KafkaStreams streams = new KafkaStreams(topology(prefix, output), config);
        CountDownLatch failed = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING && before == KafkaStreams.State.REBALANCING) {
                System.out.println("reading");
            }
        });
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            failed.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            Runtime.getRuntime().halt(failed.getCount() == 0 ? 1 : 0);
        }));
        streams.start();
        failed.await();
        System.exit(1);
    }
}
