import Foundation
import Testing

/// The rules by which martinet refuses a resource before a proxy has to, held against a real Envoy.
struct FieldRuleTests {
    @Test func whatEnvoyRefusesIsRefusedBeforeItIsPublishedAndNothingElseIs() throws {
        let control = try ControlPlaneProcess()
        let (status, output, errors) = try ChildProcess.run(
            Installation.python,
            [
                Installation.root + "/Tests/EndToEndTests/Peers/field_rules.py",
                try Installation.EnvoyVersion.newest.binary(), Installation.martinet, control.data,
            ], timeout: 240)
        #expect(status == 0, "\(errors)")
        let verdicts = output.split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
        #expect(verdicts.count == 85)
        for verdict in verdicts {
            #expect(verdict.count == 3 && verdict[1] == verdict[2], "\(verdict)")
        }
        #expect(verdicts.filter { $0.last == "takes" }.map { $0[0] }.sorted() == good)
    }

    /// What only looks like a mistake.
    private let good = ["EDS load_assignment", "STATIC good", "vhost twice"]
}
