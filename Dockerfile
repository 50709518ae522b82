# The image of every role: a static binary and nothing it does not need.
#
#   docker build -t weir:latest --build-arg VERSION=v1.0.0 .
#
# Without Docker: go run ./deploy/image, which makes the same from a binary.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=""
RUN CGO_ENABLED=0 GOOS=${TARGETOS:-linux} GOARCH=${TARGETARCH} \
    go build -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /out/weir ./cmd/weir
RUN mkdir -p /out/etc/ssl/certs /out/tmp \
    && chmod 1777 /out/tmp \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
    && printf 'root:x:0:0:root:/:/weir\nnonroot:x:65532:65532:nonroot:/:/weir\n' > /out/etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' > /out/etc/group

FROM scratch
COPY --from=build /out/ /
# Root owns the logs of a node and the state; the manifests drop every
# capability. Roles that read no node's files run as 65532.
USER 0
ENTRYPOINT ["/weir"]
CMD ["agent", "-c", "/etc/weir/weir.yaml"]
