namespace AttnCompose.Generators;
internal static class Marker;
