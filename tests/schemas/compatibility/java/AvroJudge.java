import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/** One pair of schemas a line, with data: what Avro Java's checker says, and what its decoder does. */
public final class AvroJudge {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int TEXT_MAX = 300;

  public static void main(String[] arguments) throws Exception {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(JSON.writeValueAsString(judged(JSON.readTree(line))));
      out.flush();
    }
  }

  private static ObjectNode judged(JsonNode pair) {
    ObjectNode answer = JSON.createObjectNode();
    ArrayNode decoded = answer.putArray("decoded");
    Schema writer;
    Schema reader;
    try {
      writer = new Schema.Parser().parse(pair.get("writer").toString());
      reader = new Schema.Parser().parse(pair.get("reader").toString());
    } catch (RuntimeException error) {
      return answer.put("checker", "refused: " + shortened(error));
    }
    try {
      answer.put(
          "checker",
          SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getType().toString());
    } catch (RuntimeException error) {
      answer.put("checker", "failed: " + shortened(error));
    }
    GenericDatumReader<Object> values = new GenericDatumReader<>(writer, reader);
    for (JsonNode data : pair.get("data")) {
      decoded.add(outcome(values, Base64.getDecoder().decode(data.asText())));
    }
    return answer;
  }

  /** Empty if the data was read, all of it, else what the decoder said. */
  private static String outcome(GenericDatumReader<Object> values, byte[] data) {
    try {
      BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(data, null);
      values.read(null, decoder);
      return decoder.isEnd() ? "" : "bytes are left over";
    } catch (Exception | StackOverflowError error) {
      return shortened(error);
    }
  }

  private static String shortened(Throwable error) {
    String text = error.toString();
    return text.substring(0, Math.min(text.length(), TEXT_MAX));
  }
}
