/// `GlueTests.makeCluster` as protoc prints it.
let expectedClusterText = #"""
    name: "outbound|9080||reviews"
    type: EDS
    eds_cluster_config {
      eds_config {
        ads {
        }
        resource_api_version: V3
      }
      service_name: "reviews"
    }
    connect_timeout {
      seconds: 1
      nanos: 500000000
    }
    lb_policy: LEAST_REQUEST
    circuit_breakers {
      thresholds {
        max_connections {
          value: 1024
        }
      }
      thresholds {
        priority: HIGH
        max_retries {
        }
      }
    }
    outlier_detection {
      consecutive_5xx {
        value: 5
      }
    }
    transport_socket {
      name: "envoy.transport_sockets.tls"
      typed_config {
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        value: "\n/\"\002h2\"\010http/1.12\017\n\007default\022\004\032\0000\002:\016\n\006ROOTCA\022\004\032\0000\002\022\017reviews.default"
      }
    }
    ignore_health_on_host_removal: true
    typed_extension_protocol_options {
      key: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
      value {
        type_url: "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        value: "\032\006\022\004\022\002\010d"
      }
    }
    least_request_lb_config {
      choice_count {
        value: 3
      }
    }

    """#
