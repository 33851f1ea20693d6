import EnvoyAPI
import GRPC
import Protobuf
import Testing

@testable import ControlPlane

/// What proxies tell of their work is taken within bounds.
struct TelemetrySinkTests {
    @Test func soManyStreamsAreOpenAtOnceAndNoMore() {
        let places = StreamPlaces(limit: 2)
        #expect(places.take() && places.take())
        #expect(!places.take())
        places.giveBack()
        #expect(places.take() && !places.take())
        #expect(StreamPlaces.full("streams").code == .resourceExhausted)
    }

    @Test func aProxyIsAskedForTheLoadOfAllItsClusters() throws {
        let arena = Arena()
        let answer = try arena.decode(LoadStatsResponse.self, from: LoadReportSink.answer()).pointee
        #expect(answer.send_all_clusters != 0 && answer.report_endpoint_granularity != 0)
        #expect(answer.load_reporting_interval?.pointee.seconds == 10)
    }
}
