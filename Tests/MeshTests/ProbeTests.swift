import Mesh
import Testing

struct ProbeTests {
    @Test func aProbeOfAPortThatIsNoneIsRefused() {
        for probe in ["tcpSocket", "httpGet"] {
            for port in ["-1", "0", "65536", "4294967296", "9999999999999", "''"] {
                let text = object(.workloadGroup, "template: {}\nprobe: {\(probe): {port: \(port)}}")
                #expect(errors(text).count == 1 && errors(text)[0].contains("spec.probe.\(probe).port"), "\(text)")
            }
            #expect(errors(object(.workloadGroup, "template: {}\nprobe: {\(probe): {port: web}}")) == [])
        }
    }

    @Test func whatAProbeSaysInVainIsToldOf() throws {
        let group = object(
            .workloadGroup, "template: {}\nprobe: {initialDelaySeconds: 3, grpc: {port: 80}}", namespace: "shop")
        let told = index(group).findings().map(\.path)
        #expect(
            told.sorted().filter { $0.hasPrefix("spec.probe") } == [
                "spec.probe.grpc", "spec.probe.initialDelaySeconds",
            ])
    }
}
