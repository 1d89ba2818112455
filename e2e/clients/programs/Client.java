import java.io.IOException;
import java.net.URL;
import javax.net.ssl.HttpsURLConnection;

/** Asks each URL every 100 ms, over a new connection, and says how it went. */
public class Client {
    public static void main(String[] urls) throws InterruptedException {
        while (true) {
            for (String url : urls) {
                System.out.println(url + " " + ask(url));
            }
            Thread.sleep(100);
        }
    }

    private static String ask(String url) {
        try {
            HttpsURLConnection connection = (HttpsURLConnection) new URL(url).openConnection();
            connection.setConnectTimeout(5000);
            connection.setReadTimeout(5000);
            int status = connection.getResponseCode();
            return status == 200 ? "ok" : "failed: " + status;
        } catch (IOException error) {
            return "failed: " + error.getMessage();
        }
    }
}
