import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.Arrays;
import java.util.List;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/**
 * Asks each URL every 100 ms, over a new connection, and says how it went. It trusts what the JVM has read at its start;
 * with -reload, it reads the trust store before each connection.
 */
public class Client {
    public static void main(String[] arguments) throws InterruptedException {
        boolean reload = arguments[0].equals("-reload");
        List<String> urls = Arrays.asList(arguments).subList(reload ? 1 : 0, arguments.length);
        while (true) {
            for (String url : urls) {
                System.out.println(url + " " + ask(url, reload));
            }
            Thread.sleep(100);
        }
    }

    private static String ask(String url, boolean reload) {
        try {
            HttpsURLConnection connection = (HttpsURLConnection) new URL(url).openConnection();
            if (reload) {
                connection.setSSLSocketFactory(trusting());
            }
            connection.setConnectTimeout(5000);
            connection.setReadTimeout(5000);
            int status = connection.getResponseCode();
            return status == 200 ? "ok" : "failed: " + status;
        } catch (IOException | GeneralSecurityException error) {
            return "failed: " + error.getMessage();
        }
    }

    private static SSLSocketFactory trusting() throws IOException, GeneralSecurityException {
        String file = System.getProperty("javax.net.ssl.trustStore");
        String password = System.getProperty("javax.net.ssl.trustStorePassword", "");
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream stream = new FileInputStream(file)) {
            store.load(stream, password.toCharArray());
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context.getSocketFactory();
    }
}
