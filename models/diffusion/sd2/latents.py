"""The latent space that Stable Diffusion 1 and 2 share."""

# Side of a latent cell in px.
CELL = 8
# Factor from the VAE's output to latents of about unit variance.
LATENT_SCALE = 0.18215
