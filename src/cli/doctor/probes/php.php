// What `locktrace doctor` asks a PHP: run with -r, it prints one line of JSON.
$said = ["language" => "PHP " . PHP_VERSION, "executable" => realpath("/proc/self/exe"), "extensions" => false];
try {
    if (class_exists("PDO") && in_array("sqlite", PDO::getAvailableDrivers())) {
        $row = (new PDO("sqlite::memory:"))->query("SELECT sqlite_version(), sqlite_source_id()")->fetch(PDO::FETCH_NUM);
    } elseif (class_exists("SQLite3")) {
        $row = (new SQLite3(":memory:"))->querySingle("SELECT sqlite_version() AS a, sqlite_source_id() AS b", true);
    } else {
        throw new Exception("this PHP has neither pdo_sqlite nor sqlite3");
    }
    [$said["version"], $said["source_id"]] = array_values($row);
    $files = array_map(fn($line) => trim(substr($line, 73)), file("/proc/self/maps"));
    $said["mapped"] = array_values(array_unique(array_filter($files, fn($file) => strpos($file, ".so") !== false)));
} catch (Throwable $error) {
    $said["error"] = $error->getMessage();
}
echo "\n@locktrace " . json_encode($said) . "\n";
