// Two connections of xerial's sqlite-jdbc: the second one's write is refused.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

class Refused {
    static Connection connect() throws SQLException {
        return DriverManager.getConnection("jdbc:sqlite:a.db?busy_timeout=0");
    }

    static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    public static void main(String[] arguments) throws SQLException {
        Connection a = connect();
        execute(a, "PRAGMA journal_mode = WAL");
        execute(a, "CREATE TABLE t(x)");
        Connection b = connect();
        execute(a, "BEGIN IMMEDIATE");
        execute(a, "INSERT INTO t VALUES (1)");
        try {
            execute(b, "INSERT INTO t VALUES (2)");
        } catch (SQLException error) {
            System.out.println(error.getErrorCode() == 5 ? "busy" : error.getMessage());
        }
        execute(a, "COMMIT");
        execute(b, "INSERT INTO t VALUES (3)");
        try (ResultSet row = a.createStatement().executeQuery("SELECT count(*) FROM t")) {
            System.out.println("done " + row.getInt(1));
        }
        a.close();
        b.close();
    }
}
