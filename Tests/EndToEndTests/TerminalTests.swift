import Logging
import Testing

@testable import martinet

/// What is written for people and for machines, without a process around it.
struct TerminalTests {
    @Test func aLogLineIsOneLineWhateverAPeerSays() {
        let fields: Logger.Metadata = [
            "node": "a b", "peer": "127.0.0.1:1", "detail": "two\nlines \"quoted\"", "empty": "",
        ]
        let text = LineLog.text("2026-01-02T03:04:05.006Z", .info, "xds", "it\nhappened", fields)
        #expect(
            text
                == "2026-01-02T03:04:05.006Z info     xds: it\\nhappened detail=\"two\\nlines \\\"quoted\\\"\" empty=\"\" "
                + "node=\"a b\" peer=127.0.0.1:1\n")
        let json = LineLog.json("t", .error, "xds", "m", ["level": "x", "c": "\u{1B}[31m"])
        #expect(
            json == "{\"time\":\"t\",\"level\":\"error\",\"logger\":\"xds\",\"message\":\"m\",\"c\":\"\\u001b[31m\","
                + "\"field_level\":\"x\"}\n")
    }

    @Test func aTableHasColumnsAndNoTrailingSpace() {
        var table = TextTable(["A", "LONGER", "C"])
        table.add([.init("first"), .init("x"), .init("")])
        table.add([.init("\u{1B}[2Jevil"), .init(""), .init("end\nof")])
        #expect(
            table.render(on: .output) == "A         LONGER  C\nfirst     x\n\u{FFFD}[2Jevil          end of\n")
    }

    @Test func theDataDirectoryHasADefault() {
        let home = ["HOME": "/home/u"]
        #expect(DataOptions.defaultDirectory(home, isRoot: true) == "/var/lib/martinet")
        #expect(DataOptions.defaultDirectory(home, isRoot: false) == "/home/u/.local/state/martinet")
        #expect(
            DataOptions.defaultDirectory(home.merging(["XDG_STATE_HOME": "/s"]) { $1 }, isRoot: false) == "/s/martinet")
        #expect(DataOptions.defaultDirectory(["MARTINET_DATA": "/d"], isRoot: true) == "/d")
    }

    @Test func agesAreShort() {
        #expect([0.4, 119, 121, 7_300, 200_000].map(Status.age) == ["0s", "119s", "2m", "2h", "2d"])
    }

    @Test func hashesAreCutAndLabelsAreNot() {
        #expect(shortVersion("8bb41129b22d574de71299ee10f87677") == "8bb41129b22d")
        #expect(shortVersion("release-2026-11-23-with-a-long-name") == "release-2026-11-23-with-a-long-name")
    }
}
