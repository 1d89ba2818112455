import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Collections;
import java.util.HexFormat;
import javax.net.ssl.TrustManagerFactory;

/** Reads lines of three hexadecimal words, a certificate and keystores (JKS, PKCS#12) of it alone, and says of each what Java makes of it. */
public class Verdict {
    public static void main(String[] arguments) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder answers = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            HexFormat hex = HexFormat.of();
            try {
                factory.generateCertificate(new ByteArrayInputStream(hex.parseHex(words[0])));
                load("JKS", hex.parseHex(words[1]), "changeit");
                load("PKCS12", hex.parseHex(words[2]), null);
                answers.append("accepted\n");
            } catch (Throwable refusal) {
                answers.append("refused ").append(refusal.toString().replaceAll("[\\r\\n]", " ")).append('\n');
            }
        }
        System.out.print(answers);
    }

    private static void load(String type, byte[] bytes, String password) throws Exception {
        KeyStore store = KeyStore.getInstance(type);
        store.load(new ByteArrayInputStream(bytes), password == null ? null : password.toCharArray());
        for (String algorithm : new String[] {"PKIX", "SunX509"}) {
            TrustManagerFactory managers = TrustManagerFactory.getInstance(algorithm);
            managers.init(store);
            managers.getTrustManagers();
        }
        for (String alias : Collections.list(store.aliases())) {
            store.getCertificate(alias).getEncoded();
        }
        if (store.size() != 1) {
            throw new Exception(type + " holds " + store.size() + " entries");
        }
    }
}
