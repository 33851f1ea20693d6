import Foundation
import Testing

struct JournalTests {
    /// The journal is on disk before the answer is out, whenever the kill comes.
    @Test func everyCertificateThatWasAnsweredIsInTheJournalAfterKills() throws {
        let control = try ControlPlaneProcess()
        let own = try Agent.files(of: "web", from: control)
        let storm = try ChildProcess(
            Installation.python,
            [
                Installation.root + "/Tests/EndToEndTests/Peers/csr_storm.py", "\(control.tlsPort)",
                control.rootCertificate, own.certificate, own.key, "4",
            ], in: control.directory)
        func answered() -> [Substring] {
            // The last line may be half written.
            Array(storm.log.split(separator: "\n", omittingEmptySubsequences: false).dropLast())
        }
        for kill in 1...8 {
            let before = answered().count
            try eventually("answers after \(kill - 1) kills; \(storm.log.suffix(500))", within: 30) {
                answered().count > before + 10 ? true : nil
            }
            usleep(.random(in: 0...300_000))
            try control.restart(SIGKILL)
        }
        storm.stop()
        let serials = answered().filter { !$0.hasPrefix("-") }.map(String.init)
        #expect(serials.count > 80)
        let (status, output, errors) = try ChildProcess.run(
            Installation.python,
            [
                "-c",
                "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute('SELECT serial FROM issued'): "
                    + "print('%x' % int(row[0].replace(':', ''), 16))",
                control.data + "/martinet.db",
            ])
        #expect(status == 0, "\(errors)")
        let journal = output.split(separator: "\n").map(String.init)
        #expect(Set(journal).count == journal.count)
        #expect(Set(serials).subtracting(journal).isEmpty)
    }
}
